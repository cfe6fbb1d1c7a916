"""Why nobody serves some blocks, as far as a client knows: what is to be said of peers that are there and cannot be
used, and of those that were there. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarm.commands import Invitation
from swarm.errors import NoRoute, in_words
from swarm.route.peer import PeerInfo
from swarm.route.route import gaps
from swarm.wire.peer_names import short_id

MOST_NAMED = 3

Avoid = Mapping[str, str]  # ids of peers that are not wanted now, and why: a clause that goes on after a peer's name
NOBODY: Avoid = {}


@dataclass(frozen=True)
class Absent:
    """A peer that is in the directory, or was a while ago, and of no use now."""

    peer: PeerInfo
    why: str = ""  # a clause that goes on after its name; empty: it is listed no longer
    is_silent: bool = False  # it was tried, and did not do as it should; else it is not wanted
    is_waived_at_will: bool = False  # the user may take it all the same

    @property
    def name(self) -> str:
        return f"peer {short_id(self.peer.peer_id)}"


def explained(
    error: NoRoute, absent: Iterable[Absent], now_s: float, invitation: Invitation, hints: Sequence[str] = ()
) -> NoRoute:
    """`error`, with what is known of those of `absent` that serve any of the blocks it is about: first those that the
    user may take all the same, then the silent ones, and last what is true of most; and with what would help. now_s:
    Unix time. invitation: to a peer that would serve what is missing. hints: what would make more peers usable."""
    if not error.uncovered:
        return NoRoute("; ".join([str(error), *hints])) if hints else error
    about = [one for one in absent if concerns(error, one.peer)]
    why = Counter(one.why for one in about)
    there = sorted(
        (one for one in about if one.why),
        key=lambda one: (not one.is_waived_at_will, not one.is_silent, why[one.why]),
    )
    if there:  # who is gone says little where others are there
        return _of_those(there, error.uncovered, now_s, invitation, hints)
    text = "; ".join([str(error), *hints, _remedy(error.uncovered, invitation)])
    if about:
        because = f"nobody who can be used serves them; {_listed(about)}"
        return NoRoute(f"{text}; {_listed(about, now_s)}", error.uncovered, because)
    return NoRoute(text, error.uncovered, error.because)


def _of_those(
    there: Sequence[Absent],
    missing: Sequence[tuple[int, int]],
    now_s: float,
    invitation: Invitation,
    hints: Sequence[str],
) -> NoRoute:
    """`there` serve some of the blocks that are missing, or all of them, and cannot be used."""
    nowhere = [gap for start, stop in missing for gap in gaps((one.peer.blocks for one in there), start, stop)]
    served = [part for start, stop in missing for part in gaps(nowhere, start, stop)]
    who = "one peer only, which cannot" if len(there) == 1 else f"{len(there)} peers, none of which can"
    text = "; ".join([f"blocks {in_words(served)} are served by {who} be used: {_listed(there, now_s)}", *hints])
    because = _listed(there)
    if nowhere:
        text = f"no peer serves blocks {in_words(nowhere)}; {_remedy(nowhere, invitation)}; {text}"
        because = f"nobody serves {in_words(nowhere)}; {because}"
    elif not any(one.is_silent for one in there):  # who is silent may come back by itself
        text += f"; {_remedy(served, invitation)}"
    return NoRoute(text, missing, because)


def _remedy(missing: Sequence[tuple[int, int]], invitation: Invitation) -> str:
    """The command that would help where nobody serves these blocks."""
    return f"start one with `{invitation.serve(missing[0])}`"


def _listed(absent: Sequence[Absent], now_s: float | None = None) -> str:
    """now_s: None: without times, so that the text stays the same as long as nothing happens."""
    named = "; ".join(_of_one(one, now_s) for one in absent[:MOST_NAMED])
    more = len(absent) - MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named


def _of_one(one: Absent, now_s: float | None) -> str:
    tells_when = now_s is not None and not one.is_waived_at_will  # of whom it does not matter: it is not tried
    heard = f", last heard {max((now_s or 0.0) - one.peer.issued_ms / 1000, 0.0):.0f} s ago," if tells_when else ""
    return f"{one.name}{heard} {one.why or 'served them and is gone'}"


def concerns(error: NoRoute, peer: PeerInfo) -> bool:
    """Whether it serves any of the blocks that `error` is about, which may be all."""
    (first, last), ranges = peer.blocks, error.uncovered
    return not ranges or any(max(first, start) < min(last, stop) for start, stop in ranges)
