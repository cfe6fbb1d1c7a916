"""How long others are silent: time in which this process could not have heard them does not count."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

TICK_S = 0.05

T = TypeVar("T")


async def heard(answer: Coroutine[Any, Any, T], silence_s: float) -> T:
    """What `answer` gives. Raises TimeoutError, and ends it, after `silence_s` of listening.

    One timer would take this process's own absence for the silence of others: while its event loop was at something
    else, its cores were with others, or it was suspended, answers came that nobody has read yet. So it listens in
    ticks, and each counts as one however long it took.
    """
    task, left_s = asyncio.ensure_future(answer), silence_s
    try:
        while left_s > 0:
            tick_s = min(TICK_S, left_s)
            if (await asyncio.wait({task}, timeout=tick_s))[0]:
                return task.result()
            left_s -= tick_s
        raise TimeoutError
    finally:
        task.cancel()
