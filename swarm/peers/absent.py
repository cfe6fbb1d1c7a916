"""Why nobody serves some blocks, as far as a client knows: what is to be said of peers that are there and cannot be
used, and of those that were there. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarm.errors import NoRoute
from swarm.route.peer import PeerInfo

MOST_NAMED = 3


@dataclass(frozen=True)
class Absent:
    """A peer that is in the directory, or was a while ago, and of no use now."""

    peer: PeerInfo
    why: str = ""  # a clause that goes on after its name; empty: it is listed no longer
    is_silent: bool = False  # it was tried, and did not do as it should; else it is not wanted

    @property
    def name(self) -> str:
        return f"peer {self.peer.peer_id[-8:]}"


def explained(error: NoRoute, absent: Iterable[Absent], now_s: float) -> NoRoute:
    """`error`, with what is known of those of `absent` that serve any of the blocks it is about. now_s: Unix time."""
    if not error.uncovered:
        return error
    about = [one for one in absent if _overlaps(one.peer.blocks, error.uncovered)]
    if listed := [one for one in about if one.why]:  # who is gone says little where others are there
        about = listed
    silent = [one for one in about if one.is_silent]
    others = [one for one in about if not one.is_silent]
    text, because = str(error), error.because
    if silent:
        there = "one peer only, which" if len(about) == 1 else f"{len(about)} peers, none of which"
        negated = "cannot" if len(about) == 1 else "can"
        text = f"blocks {error.blocks} are served by {there} {negated} be used: {_listed(silent + others, now_s)}"
        because = _listed(silent + others)
    elif others:
        text += f"; {_listed(others, now_s)}"
        because = f"nobody who can be used serves them; {_listed(others)}"
    return NoRoute(text, error.uncovered, because)


def _listed(absent: Sequence[Absent], now_s: float | None = None) -> str:
    """now_s: None: without times, so that the text stays the same as long as nothing happens."""
    named = "; ".join(_of_one(one, now_s) for one in absent[:MOST_NAMED])
    more = len(absent) - MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named


def _of_one(one: Absent, now_s: float | None) -> str:
    heard = "" if now_s is None else f", last heard {max(now_s - one.peer.issued_ms / 1000, 0.0):.0f} s ago,"
    return f"{one.name}{heard} {one.why or 'served them and is gone'}"


def _overlaps(blocks: tuple[int, int], ranges: Iterable[tuple[int, int]]) -> bool:
    return any(max(blocks[0], start) < min(blocks[1], stop) for start, stop in ranges)
