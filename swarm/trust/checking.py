"""The client's side of receipts: whether those of a chain fit what was asked, what was sent, and one another.

Nothing is recomputed here. What follows from receipts alone: that every hop signed for all that passed through it, that
each one's outputs were the next one's inputs, and that nobody signed two different things for the same work.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from swarm.errors import InvalidRequest
from swarm.trust.receipts import (
    NOTHING,
    Receipt,
    SignedReceipt,
    Terms,
    context_after,
    is_contradiction,
    is_equivocation,
)
from swarm.wire.merkle import merkle_root

MAX_EARLY = 64  # receipts of one hop that came before their predecessors


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
        return f"peer {self.peer_id[-8:]} {self.kind.value}" + (f": {self.detail}" if self.detail else "")


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

    def signed_until(self, position: int) -> bool:
        """Whether all positions below `position` are signed for."""
        return bool(self.receipts) and self.receipts[-1].receipt.stop_position >= position

    def add(self, signed: SignedReceipt) -> list[SignedReceipt]:
        """Take in one receipt; returns what is new and in its order by that. Raises Misfit."""
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
            return []
        self._early[receipt.index] = signed
        new = []
        while following := self._early.pop(len(self.receipts), None):
            self._append(following)
            new.append(following)
        return new

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

    def __init__(self):
        self.on_receipt: Callable[[SignedReceipt], None] = lambda signed: None  # told of every one that fits
        self.hops: list[HopReceipts] = []  # in the order in which they were opened
        self.faults: list[Fault] = []
        self._noted = 0
        self._by_opening: dict[tuple[int, int], HopReceipts] = {}
        self._sent: list[bytes] = []  # digests of the rows that the client sent, by position
        self._sent_again: set[int] = set()  # positions that hops may have computed twice, with other bits
        self._received: dict[int, tuple[HopReceipts, bytes]] = {}  # of those that it got, and from whom
        self._by_outputs: dict[tuple[int, int, int], list[SignedReceipt]] = {}  # by block, position and count

    def expect(self, terms: Terms, peer_id: str, live_from: int = 0) -> HopReceipts:
        """A hop was opened on these terms."""
        hop = HopReceipts(terms, peer_id, live_from)
        self.hops.append(hop)
        self._by_opening[terms.start, terms.attempt] = hop
        return hop

    def sent(self, position: int, digests: Sequence[bytes]) -> None:
        """The client sent these rows to the first hop."""
        self._sent_again.update(range(position, len(self._sent)))
        self._sent[position:] = digests

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

    def digests_sent(self, position: int, count: int) -> list[bytes]:
        return self._sent[position : position + count]

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
        try:
            for new in hop.add(signed):
                self._check_place(hop, new)
                self.on_receipt(new)
        except Misfit as bad:
            self.blame(hop.peer_id, bad.kind, bad.detail, bad.evidence)

    def blame(self, peer_id: str, kind: FaultKind, detail: str = "", evidence: tuple[SignedReceipt, ...] = ()) -> None:
        self.faults.append(Fault(peer_id, kind, detail, evidence))

    def _check_place(self, hop: HopReceipts, signed: SignedReceipt) -> None:
        """Compare with what the client sent and got, and with the hop before. Raises Misfit."""
        receipt = signed.receipt
        positions = range(receipt.position, receipt.stop_position)
        if receipt.terms.start == self.hops[0].expected.start and receipt.inputs != self._root_sent(receipt):
            raise Misfit(FaultKind.INVALID, "its inputs are not what the client sent", (signed,))
        if receipt.position < hop.live_from or not self._sent_again.isdisjoint(positions):
            return
        self._by_outputs.setdefault((receipt.terms.stop, receipt.position, receipt.count), []).append(signed)
        sources = self._by_outputs.get((receipt.terms.start, receipt.position, receipt.count), [])
        if sources and all(source.receipt.outputs != receipt.inputs for source in sources):
            self._blame_link(sources[-1], signed)
        got = [self._received.get(position, (None, b"")) for position in positions]
        if all(source is hop for source, _ in got) and merkle_root(digest for _, digest in got) != receipt.outputs:
            raise Misfit(FaultKind.INVALID, "its outputs are not what the client got", (signed,))

    def _blame_link(self, source: SignedReceipt, signed: SignedReceipt) -> None:
        if is_contradiction(source, signed):
            raise Misfit(FaultKind.CONTRADICTION, "", (source, signed))
        for one in (source, signed):
            self.blame(one.peer_id, FaultKind.UNLINKED, evidence=(source, signed))

    def _root_sent(self, receipt: Receipt) -> bytes:
        return merkle_root(self.digests_sent(receipt.position, receipt.count))


class Misfit(Exception):
    """A receipt that does not fit, with what a `Fault` says of it."""

    def __init__(self, kind: FaultKind, detail: str, evidence: tuple[SignedReceipt, ...]):
        super().__init__(detail)
        self.kind, self.detail, self.evidence = kind, detail, evidence


def _difference(wanted: Terms, given: Terms) -> str:
    """In words, the first thing in which they differ."""
    name = next(name for name in vars(wanted) if getattr(wanted, name) != getattr(given, name))
    values = [getattr(terms, name) for terms in (given, wanted)]
    told = [value.hex()[:16] if isinstance(value, bytes) else repr(value) for value in values]
    return f"its {name} is {told[0]} and not {told[1]}"
