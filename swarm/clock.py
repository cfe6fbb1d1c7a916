"""What time it is, as messages and files have it: this process's own clock, which a swarm may correct.

It is the machine's clock as it was when this process began, and from there on one that runs evenly: whoever sets the
machine's clock later does not reach what goes on here, and time that the machine sleeps through counts. On joining a
swarm it is set to the time of its other peers, and then kept there: see swarm.peers.dht.timekeeper.

All that others compare with their own clocks, or that is signed, is told by this one. There is one for the whole
process, as hivemind has it: whoever takes part in two swarms at once is to do so from two processes.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

logger = logging.getLogger(__name__)

REACH_S = 605.0  # that it may be set off the machine's: ten minutes, and what measuring may add
FOLLOW = 500e-6  # seconds a second by which it may go slower or faster: what NTP has for that
_SLEEPLESS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the latter counts sleep too, on other systems


class Clock:
    """Safe to use from several threads."""

    def __init__(
        self,
        machine: Callable[[], float] = time.time,
        steady: Callable[[], float] = lambda: time.clock_gettime(_SLEEPLESS),
    ):
        """machine: the machine's clock, Unix time in seconds. steady: seconds since whenever, running evenly."""
        self._machine, self._steady = machine, steady
        self._began_s = machine() - steady()
        self.shifted_s = 0.0  # by how much it was set since, in all
        self._lock = Lock()

    def now_s(self) -> float:
        """Unix time in seconds."""
        return self._steady() + self._began_s + self.shifted_s

    def steady_s(self) -> float:
        """Seconds since whenever: for durations, which no correction changes."""
        return self._steady()

    def machine_ahead_s(self) -> float:
        """By how much the machine's clock is ahead of this one, as both are now."""
        return self._machine() - self.now_s()

    def shift(self, by_s: float) -> None:
        """Set it ahead, or back."""
        with self._lock:
            self.shifted_s += by_s

    def follow_machine(self, passed_s: float) -> None:
        """For whoever has no other clock to go by, every now and then: what the machine's was set by since is made up
        for, bit by bit, unless it is so much that one of them was never right. passed_s: since the last time."""
        ahead_s = self.machine_ahead_s()
        most_s = FOLLOW * passed_s
        if abs(ahead_s) > REACH_S:
            most_s = abs(ahead_s)
            logger.warning("this machine's clock was set by %s, and so is this process's", difference(ahead_s))
        self.shift(min(max(ahead_s, -most_s), most_s))


CLOCK = Clock()  # of this process


def now_s() -> float:
    """Unix time in seconds."""
    return CLOCK.now_s()


def now_ms() -> int:
    """Unix time in milliseconds."""
    return int(CLOCK.now_s() * 1000)


def steady_s() -> float:
    """Seconds since whenever, by which durations are told: no correction changes them, and sleep counts."""
    return CLOCK.steady_s()


def difference(seconds: float) -> str:
    """How far apart two clocks are, for a message: "62 s", "25 min", "3.0 h", "2.0 days"."""
    seconds = abs(seconds)
    for unit, name, digits in ((86_400.0, "days", 1), (3_600.0, "h", 1), (60.0, "min", 0)):
        if seconds >= 2 * unit or (name == "days" and seconds >= 0.95 * unit):
            said = f"{seconds / unit:.{digits}f}"
            return f"{said} {name}" if said != "1.0" else "1 day"
    return f"{seconds:.0f} s"


def moment(unix_s: float) -> str:
    """In words: "2026-11-28 19:51:47 UTC"."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{unix_s:.0f} s after 1970"
