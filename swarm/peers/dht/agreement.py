"""What time the clocks of a swarm agree on. Pure; the reasons are in swarm.peers.dht.timekeeper.

Times are told in seconds by which another clock is ahead of one's own.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from swarm.clock import FOLLOW, REACH_S

ONE_TIME_S = 1.0  # clocks that are no further apart show the same time: what is between them is drift
_MOST_AHEAD_S = 1e10  # three hundred years
MACHINE_FOLLOW = 100e-6  # seconds a second by which a swarm's time is drawn to the clocks of its machines


@dataclass(frozen=True)
class Reading:
    """Of another clock."""

    site: str  # where it is: clocks of one site have one vote
    ahead_s: float
    doubt_s: float = 0.0  # it may be ahead by so much more or less

    @classmethod
    def of(cls, site: str, told_s: float, asked_s: float, took_s: float) -> "Reading | None":
        """Of an answer, which is untrusted; None if it says nothing, or nonsense. told_s, asked_s: Unix time, by the
        other clock and by one's own. took_s: from asking to the answer, which is supposed to be made half-way."""
        ahead_s = told_s - (asked_s + took_s / 2)
        return cls(site, ahead_s, took_s / 2) if told_s and abs(ahead_s) <= _MOST_AHEAD_S else None

    @property
    def surely_ahead_s(self) -> float:
        """What of it is not in doubt."""
        return max(abs(self.ahead_s) - self.doubt_s, 0.0) * (1 if self.ahead_s > 0 else -1)


@dataclass(frozen=True)
class Own:
    """This process's clock."""

    counts: bool  # has a vote of its own: a server's, that others may have been set by
    machine_ahead_s: float  # the machine's clock, of this one
    may_break_ties: bool = False  # the votes have been split for long


@dataclass(frozen=True)
class Agreed:
    """ahead_s: what most clocks say. is_split: no majority says it."""

    ahead_s: float
    is_split: bool


@dataclass(frozen=True)
class Move:
    """What to do: shift one's own clock by so much; whether that is a step, and whether the time is `out_of_reach`."""

    by_s: float = 0.0
    is_step: bool = False
    out_of_reach: bool = False


def votes(readings: Iterable[Reading]) -> list[float]:
    """One for each site: its median."""
    sites = defaultdict(list)
    for reading in readings:
        sites[reading.site].append(reading.surely_ahead_s)
    return [min(_middle(told), key=abs) for told in sites.values()]


def agreed(voted: Collection[float], own: Own) -> Agreed:
    """The median of `voted`, at least one, and of one's own clock if it counts.

    Where that lies between two, that far apart that they are not the same time, the machine's clock says which; once it
    has been so for long, the one that is ahead does: what holds up clocks makes them slow.
    """
    low, high = _middle([*voted, 0.0] if own.counts else voted)
    if high - low <= ONE_TIME_S:
        return Agreed((low + high) / 2, is_split=False)
    if own.may_break_ties:
        return Agreed(high, is_split=True)
    return Agreed(min(low, high, key=lambda one: (abs(one - own.machine_ahead_s), abs(one))), is_split=True)


def move(ahead_s: float, own: Own, passed_s: float) -> Move:
    """Towards what was agreed on. passed_s: since the last move; inf for a newcomer, who has no other to keep up with.

    Never further than REACH_S off the machine's clock in one step.
    """
    if abs(ahead_s) > ONE_TIME_S:
        if abs(ahead_s - own.machine_ahead_s) > REACH_S:
            return Move(out_of_reach=True)
        return Move(ahead_s, is_step=True)
    most_s = FOLLOW * passed_s
    drawn_s = _within(own.machine_ahead_s, MACHINE_FOLLOW * passed_s) if own.counts else 0.0
    return Move(_within(ahead_s, most_s) + drawn_s)


def _middle(values: Collection[float]) -> tuple[float, float]:
    """The two values in the middle; the same one twice if their number is odd."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)
