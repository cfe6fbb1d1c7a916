"""The client's own work for several sessions at once: whatever waits when the worker becomes free is one batch.

So eight sessions read the weights once and not eight times.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

GATHER_S = 0.001  # without another row: no more are coming now
INLINE_S = 0.01  # how long the event loop may be busy with one batch

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Row, Result]):
    row: Row
    done: "asyncio.Future[Result]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Gatherer(Generic[Row, Result]):
    """Lives in one event loop, and computes there as long as that is quick, else in one thread: handing work over and
    back costs a session's token 0.2 ms."""

    def __init__(
        self,
        name: str,
        compute: Callable[[Sequence[Row]], Sequence[Result]],
        is_quick: Callable[[Sequence[Row]], bool],
        fits: Callable[[Sequence[Row], Row], bool] = lambda batch, row: True,
    ):
        """name: of the thread. compute: the results of a batch, row by row. is_quick: whether that takes no longer than
        INLINE_S. fits: whether a batch can be computed with one more row."""
        self._compute, self._is_quick, self._fits = compute, is_quick, fits
        self._waiting: list[_Waiting[Row, Result]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._task: asyncio.Task[None] | None = None
        self._sessions = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        """While one more session is generating."""
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    async def submit(self, row: Row) -> Result:
        """What `compute` makes of `row`; raises what it raises."""
        if self._sessions <= 1 and not self._is_working and self._is_quick([row]):  # nobody else's row is coming
            return self._compute([row])[0]
        waiting: _Waiting[Row, Result] = _Waiting(row)
        self._waiting.append(waiting)
        if not self._is_working:
            self._task = asyncio.create_task(self._work())
        return await waiting.done

    def close(self) -> None:
        """After the last session."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _is_working(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _work(self) -> None:
        while self._waiting:
            await self._gather()
            if not (batch := self._next_batch()):
                continue
            rows = [one.row for one in batch]
            try:
                if self._is_quick(rows):
                    results = self._compute(rows)
                else:
                    results = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, rows)
            except Exception as error:  # whatever it is, it is the callers': none may wait for ever
                for one in batch:
                    if not one.done.done():
                        one.done.set_exception(error)
                continue
            for one, result in zip(batch, results, strict=True):
                if not one.done.done():  # its caller may have left
                    one.done.set_result(result)

    async def _gather(self) -> None:
        """The rows of one batch of a server arrive within a millisecond or two, each on a stream of its own: take them
        together, or the first goes alone and they come back to the servers one by one."""
        seen = 0
        while seen < len(self._waiting) < self._sessions:
            seen = len(self._waiting)
            await asyncio.sleep(GATHER_S)

    def _next_batch(self) -> list[_Waiting[Row, Result]]:
        """The first that waits, and all others that fit to it."""
        batch: list[_Waiting[Row, Result]] = []
        left: list[_Waiting[Row, Result]] = []
        for one in self._waiting:
            if one.done.done():  # its caller has left
                continue
            (batch if not batch or self._fits([other.row for other in batch], one.row) else left).append(one)
        self._waiting = left
        return batch
