"""Waiting for a chain where there is none, as while nobody serves some of the blocks, and saying so."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from swarm.errors import NoRoute, SwarmError

logger = logging.getLogger(__name__)

RETRY_S = 0.25  # between two looks for a chain

OnWait = Callable[[str], None]  # told what is waited for; "": for nothing any longer


class Waits:
    """What the sessions of one client wait for: the log hears of each thing once, however many wait for it."""

    def __init__(self) -> None:
        self._known: Counter[str] = Counter()

    def begin(self, what: str, left_s: float) -> None:
        if what not in self._known:
            logger.warning("%s (%.0f s more, Ctrl-C to stop)", what, left_s)
        self._known[what] += 1

    def end(self, what: str) -> None:
        self._known[what] -= 1
        if not self._known[what]:
            del self._known[what]


class WaitForCoverage:
    """A wait of `timeout_s` at most, of which the log hears whenever it is for something else, and `on_wait` all the
    time. A context: what is left has waited enough."""

    def __init__(self, timeout_s: float, on_wait: OnWait, waits: Waits):
        self._timeout_s, self._on_wait, self._waits = timeout_s, on_wait, waits
        self._deadline: float | None = None
        self._what = ""

    def __enter__(self) -> "WaitForCoverage":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._what:
            self._waits.end(self._what)
            self._on_wait("")

    async def pause(self, missing: SwarmError, pause_s: float = RETRY_S) -> bool:
        """Wait a little before another look; False if there is no time left for one. missing: why there is no chain."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._timeout_s
        left_s = self._deadline - now
        if left_s <= 0:
            return False
        self._say(_in_words(missing), left_s)
        await asyncio.sleep(min(pause_s, left_s))
        return True

    def _say(self, what: str, left_s: float) -> None:
        if what != self._what:
            self._waits.begin(what, left_s)
            if self._what:
                self._waits.end(self._what)
            self._what = what
        self._on_wait(f"{what} ({left_s:.0f} s more)")


def _in_words(missing: SwarmError) -> str:
    if isinstance(missing, NoRoute) and missing.uncovered:
        return f"waiting for blocks {missing.blocks}; {missing.because}"
    return f"waiting, since {missing}"
