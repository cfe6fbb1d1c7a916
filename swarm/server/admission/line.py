"""Who is let in first when a server is full. Pure.

Nobody is kept on the line: an opening that finds no room is refused, its client asks again, and the server remembers
for a while who asked. Room that appears goes to the first in line, by

    rank = when it first asked - AGEING_S * log2(1 + priority fee)         (the smallest goes first)

so that a second of waiting is worth as much as offering twice the fee. All age alike: an order once right stays right.

Nobody starves. A fee is at most MAX_FEE, so nobody who first asks more than MAX_HEAD_START_S after a waiter ever goes
before it. From then on only those go before it who are in the list already, at most PLACES - 1, and each of them leaves
the list when it is let in. A waiter that keeps asking is therefore let in after at most MAX_HEAD_START_S, and then
PLACES - 1 others. Background sessions have no such right: any on-demand waiter goes before them.

What waits first has its room kept for it, however much it needs: an opening is let in only if those before it would fit
beside it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from swarm.wire.formats.quotes import MAX_PRICE

MAX_FEE = MAX_PRICE  # nano-credits per block-token; what is offered beyond counts as this
AGEING_S = 1.0  # of waiting are worth as much as a fee twice as high
MAX_HEAD_START_S = AGEING_S * math.log2(1 + MAX_FEE)
FORGOTTEN_S = 3.0  # who has not asked again by then has gone elsewhere; clients ask every second or more often
PLACES = 512  # in the line
PLACES_EACH = 8  # of one holder: it may wait with several fees
RESERVE = 8  # background sessions leave one part in so many free, so that not every on-demand session ends one


class Room(NamedTuple):
    """What sessions take, or what is free."""

    pages: int
    sessions: int

    def holds(self, other: "Room") -> bool:
        return other.pages <= self.pages and other.sessions <= self.sessions

    def plus(self, other: "Room") -> "Room":
        return Room(self.pages + other.pages, self.sessions + other.sessions)

    def less(self, other: "Room") -> "Room":
        return Room(self.pages - other.pages, self.sessions - other.sessions)


@dataclass(frozen=True)
class Ask:
    """An opening that wants room."""

    holder: bytes | str  # its payment channel, else where it comes from, see swarm.wire.rate_limit
    pages: int
    priority_fee: int = 0  # nano-credits per block-token
    background: bool = False

    @property
    def key(self) -> tuple[bytes | str, int, bool]:
        """One place in line each, however many sessions it wants."""
        return self.holder, self.priority_fee, self.background


@dataclass(frozen=True)
class Place:
    """In the line. Times are time.monotonic()."""

    ask: Ask
    since: float
    seen: float  # when it asked last
    number: int  # in order of arrival

    @property
    def rank(self) -> tuple[bool, float, int]:
        """The smallest goes first."""
        return self.ask.background, self.since - head_start_s(self.ask.priority_fee), self.number


def head_start_s(priority_fee: int) -> float:
    """What a fee is worth, in seconds of waiting."""
    return AGEING_S * math.log2(1 + min(priority_fee, MAX_FEE))


class WaitingList:
    """Who asked lately and found no room."""

    def __init__(self) -> None:
        self._places: dict[tuple[bytes | str, int, bool], Place] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._places)

    def claim(self, ask: Ask, now: float) -> Room:
        """Note that `ask` is there, and say what has to be free before it is let in: room for itself and for all that
        go before it. Ask again at least every FORGOTTEN_S, or the place is lost.

        Where the list is full, only a higher fee gets a place, that of the last in line; so a flood of openings takes
        no more memory, and pushes nobody out who offers as much as it does.
        """
        self._forget(now)
        place = self._places.get(ask.key) or Place(ask, now, now, next(self._numbers))
        place = replace(place, ask=ask, seen=now)
        self._seat(place)
        before = [other for other in self._places.values() if other.rank < place.rank]
        return Room(ask.pages + sum(other.ask.pages for other in before), 1 + len(before))

    def take(self, ask: Ask, now: float) -> Place:
        """`ask` is let in, and gives up its place in line."""
        return self._places.pop(ask.key, None) or Place(ask, now, now, next(self._numbers))

    def give_back(self, place: Place, now: float) -> None:
        """Whoever had `place` was let in and left without using it, since another hop of its chain was full: it is in
        line again where it was."""
        other = self._places.get(place.ask.key)
        if other is None or place.rank < other.rank:
            self._seat(replace(place, seen=now))

    def _seat(self, place: Place) -> None:
        if place.ask.key not in self._places:
            own = [other for other in self._places.values() if other.ask.holder == place.ask.holder]
            rivals = own if len(own) >= PLACES_EACH else self._places.values() if len(self) >= PLACES else ()
            last = max(rivals, key=lambda other: other.rank, default=None)
            if last is not None:
                if last.rank < place.rank:
                    return
                del self._places[last.ask.key]
        self._places[place.ask.key] = place

    def _forget(self, now: float) -> None:
        gone = [key for key, place in self._places.items() if now - place.seen > FORGOTTEN_S]
        for key in gone:
            del self._places[key]


def background_reserve(total: Room) -> Room:
    """What background sessions leave free of `total`."""
    return Room(total.pages // RESERVE, total.sessions // RESERVE)


T = TypeVar("T")


class Occupant(NamedTuple, Generic[T]):
    """An open background session."""

    session: T
    priority_fee: int
    pages: int
    length: int  # positions that it has computed


def who_gives_way(occupants: Iterable[Occupant[T]], short: Room) -> list[T]:
    """Which background sessions to end so that `short` more becomes free: the lowest fees, and among those the ones
    that lose least. None, if all of them together would not do."""
    leaving: list[T] = []
    for one in sorted(occupants, key=lambda one: (one.priority_fee, one.length)):
        if short.pages <= 0 and short.sessions <= 0:
            break
        leaving.append(one.session)
        short = short.less(Room(one.pages, 1))
    return leaving if short.pages <= 0 and short.sessions <= 0 else []
