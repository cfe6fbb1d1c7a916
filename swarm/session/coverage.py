"""Waiting for a chain where there is none, as while nobody serves some of the blocks, and saying so."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from swarm.errors import NoRoute, SwarmError

logger = logging.getLogger(__name__)

BRIEF_S = 1.0  # a wait that is over before anybody has read of it
RETRY_S = 0.25  # between two looks for a chain

OnWait = Callable[[str], None]  # told what is waited for; "": for nothing any longer


class Waits:
    """What the sessions of one client wait for: the log hears of each thing once, however many wait for it."""

    def __init__(self, in_vain: Callable[[], str] = lambda: ""):
        """in_vain: why nothing will ever come of waiting any more; empty: something may."""
        self._known: Counter[str] = Counter()
        self.in_vain = in_vain

    def begin(self, what: str, left_s: float) -> None:
        if what not in self._known and left_s > BRIEF_S:
            logger.warning("%s (%.0f s more, Ctrl-C to stop)", what, left_s)
        self._known[what] += 1

    def end(self, what: str) -> None:
        self._known[what] -= 1
        if not self._known[what]:
            del self._known[what]


class WaitForCoverage:
    """One generation's waits: `timeout_s` in all until it gets further, however often and for whatever it waits. The
    log hears whenever that is for something else, and `on_wait` all the time. A context: at its end nothing is waited
    for."""

    def __init__(self, timeout_s: float, on_wait: OnWait, waits: Waits):
        self._timeout_s, self._on_wait, self._waits = timeout_s, on_wait, waits
        self._deadline: float | None = None  # time.monotonic(); None: it has not waited since it got further
        self._furthest = 0  # position
        self._what = ""

    def __enter__(self) -> "WaitForCoverage":
        return self

    def __exit__(self, *exception: object) -> None:
        self.over()

    async def pause(self, missing: SwarmError, pause_s: float = RETRY_S) -> bool:
        """Wait a little before another look; False if there is no time left for one. missing: why there is no chain.
        Raises SwarmError where it is in vain."""
        if not self.goes_on(_in_words(missing)):
            return False
        await asyncio.sleep(min(pause_s, self._left_s()))
        return True

    def goes_on(self, what: str) -> bool:
        """Whether there is time left to wait for that, which is said then. Raises SwarmError where it is in vain."""
        if why := self._waits.in_vain():
            raise SwarmError(why)
        left_s = self._left_s()
        if left_s > 0:
            self._say(what, left_s)
        return left_s > 0

    def over(self) -> None:
        """Nothing is waited for now: what was said is taken back. The time is not: who is there may be of no use."""
        if self._what:
            self._waits.end(self._what)
            self._what = ""
            self._on_wait("")

    def got_to(self, position: int) -> None:
        """Outputs of all positions below arrived. Those that were there before, and are computed again by others, are
        no reason to wait longer."""
        if position > self._furthest:
            self._furthest, self._deadline = position, None

    def renew(self) -> None:
        """What was missing is there, and something else is waited for, within limits of its own."""
        self.over()
        self._deadline = None

    def _left_s(self) -> float:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout_s
        return self._deadline - time.monotonic()

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
