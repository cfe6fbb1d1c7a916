"""What receipts alone show, without a model and without a swarm.

That each hop signed for all that it did, one receipt after the other; that what went out of one hop went into the next;
and that nobody signed two things.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

from swarm.verify.receipts.checking import Fault, FaultKind, HopReceipts, Misfit
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, is_contradiction, is_equivocation
from swarm.wire.peer_names import short_id

_Slot = tuple[bytes | int, ...]  # of a receipt but for its index: peer, session, first block, attempt
_Place = tuple[bytes, int, int, int]  # session, block, position, count


@dataclass(frozen=True)
class Opening:
    """What one hop signed for one opening of a session."""

    session: str  # hexadecimal
    peer_id: str
    blocks: tuple[int, int]  # start, stop
    positions: tuple[int, int]
    receipts: int
    weights: str  # root over the blocks' digests, hexadecimal
    format: str
    numerics_id: str


@dataclass(frozen=True)
class Report:
    """What receipts alone show.

    links:  receipts whose inputs are what a predecessor, whose receipt is here, signed as its outputs
    unseen: receipts that name a predecessor's which is not here
    faults: what is wrong, and with whom
    gaps:   receipts that are not here, and work that nobody signed for though others of the session went on; in words
    """

    openings: tuple[Opening, ...]
    receipts: int
    links: int
    unseen: int
    faults: tuple[Fault, ...]
    gaps: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return bool(self.receipts) and not self.faults and not self.gaps


def check(receipts: Sequence[SignedReceipt]) -> Report:
    """Whether receipts fit one another. Those of several sessions are checked apart; the same one twice counts once."""
    own = {signed.receipt.hash: signed for signed in receipts}
    openings: dict[_Slot, list[SignedReceipt]] = defaultdict(list)
    for signed in own.values():
        openings[signed.receipt.slot[:-1]].append(signed)
    for given in openings.values():
        given.sort(key=lambda signed: signed.receipt.index)
    faults = [fault for given in openings.values() for fault in _check_opening(given)]
    links, unseen, broken = _check_links(own)
    return Report(
        openings=tuple(sorted(map(_describe, openings.values()), key=lambda one: (one.session, one.blocks))),
        receipts=len(own),
        links=links,
        unseen=unseen,
        faults=(*faults, *broken),
        gaps=(*_holes(openings.values()), *_gaps(openings.values())),
    )


# --- one hop -------------------------------------------------------------------------------------------------------


def _check_opening(given: list[SignedReceipt]) -> Iterator[Fault]:
    """given: by their numbers. What follows a number that is not here cannot be checked, see `_holes`."""
    twice = next((pair for pair in pairwise(given) if is_equivocation(*pair)), None)
    if twice:
        yield Fault(given[0].peer_id, FaultKind.EQUIVOCATION, f"number {twice[0].receipt.index}", twice)
        return
    hop = HopReceipts(given[0].receipt.terms, given[0].peer_id, live_from=0)
    try:
        for index, signed in enumerate(given):
            if signed.receipt.index != index:
                return
            for _ in hop.add(signed):
                pass
    except Misfit as misfit:
        yield Fault(hop.peer_id, misfit.kind, misfit.detail, misfit.evidence)


def _describe(given: Sequence[SignedReceipt]) -> Opening:
    terms = given[0].receipt.terms
    return Opening(
        session=terms.session.hex(),
        peer_id=given[0].peer_id,
        blocks=(terms.start, terms.stop),
        positions=_extent(given),
        receipts=len(given),
        weights=terms.weights.hex(),
        format=terms.format,
        numerics_id=terms.numerics_id,
    )


def _extent(given: Iterable[SignedReceipt]) -> tuple[int, int]:
    given = list(given)
    return min(one.receipt.position for one in given), max(one.receipt.stop_position for one in given)


# --- neighbours ----------------------------------------------------------------------------------------------------


def _check_links(own: dict[bytes, SignedReceipt]) -> tuple[int, int, list[Fault]]:
    """How many inputs are a predecessor's outputs, how many receipts name one that is not here, and what is wrong."""
    outputs: dict[_Place, set[bytes]] = defaultdict(set)
    oldest: dict[_Place, SignedReceipt] = {}
    for signed in own.values():
        place = _place(signed, signed.receipt.terms.stop)
        outputs[place].add(signed.receipt.outputs)
        if place not in oldest or _is_newer(oldest[place], signed):
            oldest[place] = signed
    links, unseen, faults = 0, 0, []
    repeated = _repeated(own.values())
    for signed in own.values():
        receipt, place = signed.receipt, _place(signed, signed.receipt.terms.start)
        named, source = own.get(receipt.upstream), oldest.get(place)
        unseen += receipt.upstream != NOTHING and named is None
        if named and is_contradiction(named, signed):
            faults.append(Fault(signed.peer_id, FaultKind.CONTRADICTION, evidence=(named, signed)))
        elif named and _place(named, named.receipt.terms.stop) != place:
            detail = f"number {receipt.index} names a receipt that is not its predecessor's for the same positions"
            faults.append(Fault(signed.peer_id, FaultKind.INVALID, detail, (named, signed)))
        elif receipt.inputs in outputs.get(place, ()):
            links += 1
        elif source and receipt.hash not in repeated and not _is_newer(source, signed):
            faults += [Fault(one.peer_id, FaultKind.UNLINKED, evidence=(source, signed)) for one in (source, signed)]
    return links, unseen, faults


def _place(signed: SignedReceipt, block: int) -> _Place:
    """What was between two hops: before this block, at these positions."""
    return signed.receipt.terms.session, block, signed.receipt.position, signed.count


def _is_newer(source: SignedReceipt, signed: SignedReceipt) -> bool:
    """Whether one hop was opened later than another. If the other comes after it in the chain, it has taken somebody's
    place, and computed again what that one had computed; in other numerics, with other bits, which went nowhere. Only
    the client knows how far."""
    return source.receipt.terms.attempt > signed.receipt.terms.attempt


def _repeated(receipts: Iterable[SignedReceipt]) -> set[bytes]:
    """Hashes of receipts of which a later one of the same hop covers a part again: a step was repeated, perhaps with
    other bits, and the first time does not count."""
    starts: dict[_Slot, int] = {}
    found = set()
    for signed in sorted(receipts, key=lambda one: one.receipt.index, reverse=True):
        receipt, opening = signed.receipt, signed.receipt.slot[:-1]
        if starts.get(opening, receipt.stop_position) < receipt.stop_position:
            found.add(receipt.hash)
        starts[opening] = min(starts.get(opening, receipt.position), receipt.position)
    return found


# --- whole sessions ------------------------------------------------------------------------------------------------


def _holes(openings: Iterable[Sequence[SignedReceipt]]) -> Iterator[str]:
    for given in openings:
        numbers = {signed.receipt.index for signed in given}
        if len(numbers) <= max(numbers):
            first = next(index for index in range(len(numbers) + 1) if index not in numbers)
            yield f"{_session(given)}: number {first} of the receipts of peer {short_id(given[0].peer_id)} is not here"


def _gaps(openings: Iterable[Sequence[SignedReceipt]]) -> Iterator[str]:
    """What of the rectangle of blocks and positions of each session nobody signed for."""
    sessions: dict[bytes, list[Sequence[SignedReceipt]]] = defaultdict(list)
    for given in openings:
        sessions[given[0].receipt.terms.session].append(given)
    for hops in sessions.values():
        last = max(_extent(given)[1] for given in hops)
        for start, stop, reached in _skyline([(*given[0].blocks, _extent(given)[1]) for given in hops]):
            if reached < last:
                yield f"{_session(hops[0])}: nobody signed for blocks {start}:{stop} at positions {reached}:{last}"


def _skyline(ranges: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """ranges: (start, stop, height). For every stretch between two of their ends, the greatest height over it."""
    waiting = sorted(ranges, reverse=True)
    over: list[tuple[int, int]] = []  # a heap of (-height, stop)
    for start, stop in pairwise(sorted({cut for first, end, _ in ranges for cut in (first, end)})):
        while waiting and waiting[-1][0] <= start:
            _, end, height = waiting.pop()
            heappush(over, (-height, end))
        while over and over[0][1] <= start:
            heappop(over)
        yield start, stop, -over[0][0] if over else 0


def _session(given: Sequence[SignedReceipt]) -> str:
    return f"session {given[0].receipt.terms.session.hex()[:12]}"
