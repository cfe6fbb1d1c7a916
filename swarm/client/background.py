"""One event loop, in one daemon thread, for all network work of the clients in this process.

Callers' threads hand coroutines to it and wait. Nothing is ever awaited from a finaliser, which may run inside this
loop: what is to be done for an object that was dropped is done in a thread of its own.
"""

import _thread as threads
import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import uvloop

import swarm.storage.writer  # noqa: F401 - ends are in the opposite order of imports: the loop's last writes come first
from swarm.errors import SwarmError
from swarm.forks import Owner, freeze_in_child
from swarm.wire.tasks import is_ending

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_owner_pid = 0

_STOP_TIMEOUT_S = 5.0
# Between two looks for an interrupt, while there is nothing else: one that another thread asks for, as notebooks and
# debuggers do, or whose signal another thread got, wakes nobody who waits.
LOOK_S = 0.2


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started when first asked for (anew in a forked child, where the thread does not exist). Raises
    SwarmError if this machine has no thread left."""
    global _loop, _thread, _owner_pid
    with _lock:
        if _loop is None or _owner_pid != os.getpid():
            loop = uvloop.new_event_loop()
            loop.set_exception_handler(_tell)
            thread = threading.Thread(target=_run, args=[loop], name="swarm-client", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                loop.close()
                raise SwarmError(f"no client can work here: {error}") from error
            _loop, _thread, _owner_pid = loop, thread, os.getpid()
            freeze_in_child(_loop)
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_cancel_all())
    loop.close()


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of a task whose failure nobody awaits."""
    if not (isinstance(context.get("exception"), RuntimeError) and is_ending()):
        loop.default_exception_handler(context)


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()  # whoever held it is not here


os.register_at_fork(after_in_child=_in_child)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@atexit.register
def _stop() -> None:
    """End the thread before the interpreter goes: a timer of the loop that fires afterwards would crash the process."""
    if _loop is not None and _thread is not None and _owner_pid == os.getpid() and _thread.is_alive():
        _loop.call_soon_threadsafe(_loop.stop)
        _thread.join(_STOP_TIMEOUT_S)


def submit(coroutine: Coroutine[object, object, T]) -> "Future[T]":
    """Start `coroutine` in the background."""
    return asyncio.run_coroutine_threadsafe(coroutine, background_loop())


def wait(coroutine: Coroutine[object, object, T]) -> T:
    """Run `coroutine` in the background and return its result; an interrupt (Ctrl-C) cancels it."""
    future = submit(coroutine)
    try:
        while not futures.wait([future], LOOK_S).done:
            pass
        return future.result()
    except BaseException:
        future.cancel()
        raise


def when_dropped(
    thing: T, work: Callable[[], object], at_once: Callable[[], object] = lambda: None
) -> "weakref.finalize[Any, T]":
    """Have `work` done, in a thread of its own, once nobody refers to `thing` any more: not at the end of the process,
    and not for a forked child's copy. at_once: is done before that, where nothing may wait, nor take a lock."""
    finalizer = weakref.finalize(thing, _begin, at_once, work, Owner())
    finalizer.atexit = False
    return finalizer


def _begin(at_once: Callable[[], object], work: Callable[[], object], owner: Owner) -> None:
    """Called by the garbage collector, in any thread and amid anything."""
    if owner.is_here:
        at_once()
        with suppress(RuntimeError):  # the process ends, and starts no threads any more
            threads.start_new_thread(work, ())
