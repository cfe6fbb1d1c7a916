"""The client's side of receipts: whether those of a chain fit what was asked, what was sent, and one another.

Nothing is recomputed here. What follows from receipts alone: that every hop signed for all that passed through it, that
each one's outputs were the next one's inputs, and that nobody signed two different things for the same work.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from swarm.errors import InvalidRequest
from swarm.wire.formats.merkle import merkle_root
from swarm.wire.formats.receipts import (
    NOTHING,
    Receipt,
    SignedReceipt,
    Terms,
    context_after,
    is_contradiction,
    is_equivocation,
)
from swarm.wire.peer_names import short_id

MAX_EARLY = 64  # receipts of one hop that came before their predecessors
MAX_FAULTS = 16  # of one peer in one session that are held against it: one who signs rubbish can sign a lot of it

_Chunk = tuple[int, int]  # first position, and one past the last


class FaultKind(enum.Enum):
    MISSING = "did not sign for its work"
    INVALID = "signed a receipt that does not fit its work"
    WITHHELD = "did not hand out what it had sent"
    UNLINKED = "signed for other activations than its neighbour in the chain"  # one of the two lies
    CONTRADICTION = "named its predecessor's receipt, and signed for other inputs than that one's outputs"
    EQUIVOCATION = "signed two different receipts for the same work"


@dataclass(frozen=True)
class Fault:
    """What one peer got wrong. evidence: the receipts that show it."""

    peer_id: str
    kind: FaultKind
    detail: str = ""
    evidence: tuple[SignedReceipt, ...] = ()

    def __str__(self) -> str:
        return f"peer {short_id(self.peer_id)} {self.kind.value}" + (f": {self.detail}" if self.detail else "")

    def __repr__(self) -> str:
        return f"<Fault {self.kind.name}: {self}>"


class HopReceipts:
    """Those of one hop for one opening of a session, in their order.

    live_from: the first position whose outputs it sent on, later than 0 for one that was filled by replays first.
    """

    def __init__(self, expected: Terms, peer_id: str, live_from: int):
        """expected: with weights NOTHING if the client does not know them."""
        self.expected, self.peer_id, self.live_from = expected, peer_id, live_from
        self.receipts: list[SignedReceipt] = []
        self.considered = 0  # receipts of which it was decided whether to audit them
        self._early: dict[int, SignedReceipt] = {}

    @property
    def signed_length(self) -> int:
        """All positions below are signed for."""
        return self.receipts[-1].receipt.stop_position if self.receipts else 0

    def take_over(self, position: int) -> None:
        """Until now it was filled; its outputs are sent on from `position`."""
        self.live_from = position

    def add(self, signed: SignedReceipt) -> Iterator[SignedReceipt]:
        """Take in one receipt; yields what is new and in its order by that, each as it is taken in. Raises Misfit."""
        receipt = signed.receipt
        wanted = self.expected
        if wanted.weights == NOTHING:
            wanted = replace(wanted, weights=receipt.terms.weights)
        if receipt.terms != wanted:
            raise Misfit(FaultKind.INVALID, _difference(wanted, receipt.terms), (signed,))
        known = self._known(receipt.index)
        if known and is_equivocation(known, signed):
            raise Misfit(FaultKind.EQUIVOCATION, f"number {receipt.index}", (known, signed))
        if known or len(self._early) >= MAX_EARLY:
            return
        self._early[receipt.index] = signed
        while following := self._early.pop(len(self.receipts), None):
            self._append(following)
            yield following

    def _known(self, index: int) -> SignedReceipt | None:
        return self.receipts[index] if index < len(self.receipts) else self._early.get(index)

    def _append(self, signed: SignedReceipt) -> None:
        receipt, last = signed.receipt, self.receipts[-1].receipt if self.receipts else None
        previous, context, length = (last.hash, last.context, last.stop_position) if last else (NOTHING, NOTHING, 0)
        context = context_after(context, receipt.position, receipt.count, receipt.inputs)
        if (receipt.previous, receipt.context) != (previous, context):
            raise Misfit(FaultKind.INVALID, f"number {receipt.index} does not follow the one before it", (signed,))
        if receipt.position > length:
            raise Misfit(FaultKind.INVALID, f"number {receipt.index} leaves positions out", (signed,))
        self.receipts.append(signed)


class ChainReceipts:
    """All receipts of one session."""

    def __init__(self, on_receipt: Callable[[SignedReceipt], None] = lambda signed: None):
        """on_receipt: told of every one that fits."""
        self._on_receipt = on_receipt
        self.hops: list[HopReceipts] = []  # in the order in which they were opened
        self.faults: list[Fault] = []
        self._noted = 0
        self._by_opening: dict[tuple[int, int], HopReceipts] = {}
        self._sent: list[bytes] = []  # digests of the rows that the client sent, by position
        self._sent_again: set[int] = set()  # positions that hops may have computed twice, with other bits
        self._seals: set[int] = {0}  # positions before which a chunk ends
        self._received: dict[int, tuple[HopReceipts, bytes]] = {}  # of those that it got, and from whom
        # By the block between two hops, position and count; of work that was done once, and sent on when it was done.
        self._by_outputs: dict[tuple[int, int, int], list[SignedReceipt]] = {}
        self._by_inputs: dict[tuple[int, int, int], list[SignedReceipt]] = {}

    def expect(self, terms: Terms, peer_id: str, live_from: int = 0) -> HopReceipts:
        """A hop was opened on these terms."""
        hop = HopReceipts(terms, peer_id, live_from)
        self.hops.append(hop)
        self._by_opening[terms.start, terms.attempt] = hop
        return hop

    def sent(self, position: int, digests: Sequence[bytes], seal: bool = False) -> None:
        """The client sent these rows to the first hop. seal: and asked all hops to sign for everything up to them."""
        self._sent_again.update(range(position, len(self._sent)))
        stop = position + len(digests)
        self._sent[position:stop] = digests  # what follows may have been signed for before this was sent again
        if seal:
            self._seals.add(stop)

    def received(self, position: int, digest: bytes, hop: HopReceipts) -> None:
        """The client got this row from the last hop."""
        self._received[position] = hop, digest

    def all(self) -> list[SignedReceipt]:
        """All that fit, hop by hop."""
        return [signed for hop in self.hops for signed in hop.receipts]

    def new_faults(self) -> list[Fault]:
        """Those since the last call."""
        new, self._noted = self.faults[self._noted :], len(self.faults)
        return new

    def got(self, hop: HopReceipts, receipt: Receipt) -> dict[int, bytes]:
        """Digests of those outputs of a receipt that the client got from this hop, by position."""
        found = {}
        for position in range(receipt.position, receipt.stop_position):
            source, digest = self._received.get(position, (None, b""))
            if source is hop:
                found[position] = digest
        return found

    def add(self, data: bytes) -> None:
        """Check a receipt, which is untrusted. What is wrong with it is in `faults` afterwards, if it is anybody's
        fault: one that is garbled may have been garbled by any hop after its signer, whom it is asked for again."""
        try:
            signed = SignedReceipt.decode(data)
        except InvalidRequest:
            return
        hop = self._by_opening.get((signed.receipt.terms.start, signed.receipt.terms.attempt))
        if hop is None or hop.peer_id != signed.peer_id:
            return
        if signed.receipt.stop_position > len(self._sent):
            return self.blame(hop.peer_id, FaultKind.INVALID, "it is for positions that were never sent", (signed,))
        try:
            for new in hop.add(signed):
                self._check_place(hop, new)
                self._on_receipt(new)
        except Misfit as bad:
            self.blame(hop.peer_id, bad.kind, bad.detail, bad.evidence)

    def blame(self, peer_id: str, kind: FaultKind, detail: str = "", evidence: tuple[SignedReceipt, ...] = ()) -> None:
        if sum(fault.peer_id == peer_id for fault in self.faults) < MAX_FAULTS:
            self.faults.append(Fault(peer_id, kind, detail, evidence))

    def check_chunks(self, chain: Sequence[HopReceipts]) -> None:
        """Whether neighbours in the chain signed for the same chunks, which are for the client to choose. Where they
        did not, nothing shows that the outputs of one were the inputs of the other: one of the two wants it so.

        chain: the hops of the moment, in order. For when all of them have signed for what they did.
        """
        asked = {chunk for chunk in pairwise(sorted(self._seals)) if self._is_first(*chunk)}
        before, until, source = asked, max(self._seals), None
        for hop in chain:
            own, length = self._live_chunks(hop), hop.signed_length
            if _is_misaligned(before, own, min(until, length)):
                for one in filter(None, (source, hop)):
                    self.blame(one.peer_id, FaultKind.UNLINKED, "not for the chunks that were asked for")
            before, until, source = own, length, hop

    def _live_chunks(self, hop: HopReceipts) -> set[_Chunk]:
        """Those that a hop computed once, and sent on when it did. Where it was filled up to, it signs on its own: what
        follows is a chunk from there only if one was asked for."""
        chunks = ((one.receipt.position, one.receipt.stop_position) for one in hop.receipts)
        return {
            (start, stop)
            for start, stop in chunks
            if (start > hop.live_from or (start == hop.live_from and start in self._seals))
            and self._is_first(start, stop)
        }

    def _is_first(self, start: int, stop: int) -> bool:
        """Whether none of these positions was sent twice."""
        return self._sent_again.isdisjoint(range(start, stop))

    def _check_place(self, hop: HopReceipts, signed: SignedReceipt) -> None:
        """Compare with what the client sent and got, and with the hop before. Raises Misfit."""
        receipt = signed.receipt
        if receipt.terms.start == self.hops[0].expected.start and receipt.inputs != self._root_sent(receipt):
            raise Misfit(FaultKind.INVALID, "its inputs are not what the client sent", (signed,))
        if receipt.position < hop.live_from or not self._is_first(receipt.position, receipt.stop_position):
            return
        self._check_links(signed)
        got = self.got(hop, receipt)
        if len(got) == receipt.count and merkle_root(got.values()) != receipt.outputs:
            raise Misfit(FaultKind.INVALID, "its outputs are not what the client got", (signed,))

    def _check_links(self, signed: SignedReceipt) -> None:
        """With the receipts of the hops before and after, whichever came first."""
        terms, chunk = signed.receipt.terms, (signed.receipt.position, signed.receipt.count)
        sources = self._by_outputs.get((terms.start, *chunk), [])
        sinks = self._by_inputs.get((terms.stop, *chunk), [])
        self._by_outputs.setdefault((terms.stop, *chunk), []).append(signed)
        self._by_inputs.setdefault((terms.start, *chunk), []).append(signed)
        self._check_link(sources, signed)
        for sink in sinks:
            self._check_link(self._by_outputs[terms.stop, *chunk], sink)

    def _check_link(self, sources: Sequence[SignedReceipt], sink: SignedReceipt) -> None:
        """Whether what `sink` was given is what one of those who may have sent it has sent."""
        if not sources or any(source.receipt.outputs == sink.receipt.inputs for source in sources):
            return
        evidence = sources[-1], sink
        if is_contradiction(*evidence):
            return self.blame(sink.peer_id, FaultKind.CONTRADICTION, evidence=evidence)
        for one in evidence:
            self.blame(one.peer_id, FaultKind.UNLINKED, evidence=evidence)

    def _root_sent(self, receipt: Receipt) -> bytes:
        return merkle_root(self._sent[receipt.position : receipt.stop_position])


def _is_misaligned(some: set[_Chunk], others: set[_Chunk], until: int) -> bool:
    """Whether two of these chunks overlap and are not the same, as far as both sides have come."""
    only = sorted(chunk for chunk in some - others if chunk[1] <= until)
    return any(start < end and begin < stop for start, stop in only for begin, end in others - some if end <= until)


class Misfit(Exception):
    """A receipt that its signer should not have signed; becomes a Fault."""

    def __init__(self, kind: FaultKind, detail: str, evidence: tuple[SignedReceipt, ...]):
        super().__init__(detail)
        self.kind, self.detail, self.evidence = kind, detail, evidence


def _difference(wanted: Terms, given: Terms) -> str:
    """In words, the first thing in which they differ."""
    name = next(name for name in vars(wanted) if getattr(wanted, name) != getattr(given, name))
    values = [getattr(terms, name) for terms in (given, wanted)]
    told = [value.hex()[:16] if isinstance(value, bytes) else repr(value) for value in values]
    return f"its {name} is {told[0]} and not {told[1]}"
