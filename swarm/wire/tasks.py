"""Background tasks that belong to somebody, and steps that have a limit."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import thread as threads
from typing import Any

from swarm.errors import SwarmError

logger = logging.getLogger(__name__)

Work = Coroutine[object, object, object]


class TaskSet:
    """Tasks of one owner, in one event loop. They are kept here as long as they run, since the loop itself holds them
    but weakly. One that fails ends no other: that is logged, and raised to whoever waits in `failed`."""

    def __init__(self, owner: str):
        """owner: whose they are, for their names and the log."""
        self._owner = owner
        self._tasks: set[asyncio.Task[object]] = set()
        self._failure: BaseException | None = None  # the first
        self._failed = asyncio.Event()

    def start(self, work: Work, name: str = "") -> asyncio.Task[object]:
        """Begin `work`. name: what it does."""
        task = asyncio.create_task(work, name=f"{self._owner}: {name}" if name else self._owner)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[object]]:
        return iter(tuple(self._tasks))

    async def failed(self) -> None:
        """Wait until one of them fails, and raise what it raised."""
        await self._failed.wait()
        if self._failure:
            raise self._failure

    async def idle(self, timeout_s: float | None = None) -> None:
        """Wait until none is left, those included that begin meanwhile, but no longer than that."""
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            if not limit.expired():
                raise

    def cancel(self) -> None:
        """End all of them, without waiting for it."""
        for task in self:
            task.cancel()

    async def close(self, grace_s: float = 0.0) -> None:
        """Let them end by themselves for so long, then end those that are left, and wait for that."""
        if grace_s:
            await self.idle(grace_s)
        self.cancel()
        await asyncio.gather(*self, return_exceptions=True)

    def _end(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._failure = self._failure or error
        self._failed.set()
        if isinstance(error, RuntimeError) and is_ending():
            logger.debug("%s ended with the process", task.get_name())
        elif isinstance(error, SwarmError):
            logger.warning("%s ended early: %s", task.get_name(), error)
        else:
            logger.error("%s failed", task.get_name(), exc_info=error)


def is_ending() -> bool:
    """Whether this process ends: no thread takes on work any more, while a loop in the background goes on until its
    turn comes. What fails for want of a thread is then no fault."""
    return threads._shutdown  # nothing public tells it as early: executors end before the main thread has


class Shared:
    """A step that many want done: it goes on once at a time, and whoever asks meanwhile has the next one in common."""

    def __init__(self, step: Callable[[], Awaitable[object]]):
        self._step, self._doing = step, asyncio.Lock()
        self._begun = self._done = 0  # number of the last that began, and of the last that was done to its end

    async def __call__(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Returns when it was done, from its beginning on, since this was called. unless: it is not needed, after what
        others had it do."""
        before = self._begun
        async with self._doing:
            if self._done <= before and not unless():
                self._begun = number = self._begun + 1
                await self._step()  # if it fails, or its caller is cancelled, whoever waits for it does it
                self._done = number


async def within(limit_s: float, what: str, step: Callable[..., Awaitable[object]], *arguments: Any) -> None:
    """`step`, but no longer than that: what it waits for may be gone. what: it is doing, for the log."""
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            await step(*arguments)
    except TimeoutError:
        if not limit.expired():
            raise
        logger.warning("%s took longer than %.0f s, and is given up", what, limit_s)
