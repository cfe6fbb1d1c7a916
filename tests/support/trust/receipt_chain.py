"""A chain of hops that sign receipts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from swarm.verify.receipts.checking import ChainReceipts, HopReceipts
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows, to_rows
from swarm.wire.formats.receipts import NOTHING, Receipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

WIDTH = 4

IDENTITIES = [Identity() for _ in range(4)]


def make_terms(
    identity: Identity, start: int = 0, stop: int = 1, attempt: int = 1, session: bytes = bytes(16)
) -> Terms:
    address = identity.address
    return Terms(session, attempt, address, start, stop, NOTHING, "none/bfloat16", "cpu-1", pb.FLOAT32, NOTHING)


def make_receipt(identity: Identity = IDENTITIES[0], **changes: object) -> Receipt:
    values = {"terms": make_terms(identity), "index": 0, "position": 0, "count": 1, "prefill": 0, "time_ms": 1}
    hashes = ("inputs", "context", "outputs", "sketch", "upstream", "previous")
    return Receipt(**{**values, **{name: name.encode().ljust(32) for name in hashes}, **changes})


def rows(seed: int, count: int) -> Rows:
    return to_rows(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), torch.float32)


# --- a chain of honest hops -----------------------------------------------------------------------------------------


class Chain:
    """Hops in a row that compute something, and the client that watches them."""

    def __init__(self, hops: int = 3):
        self.session, self.attempts = new_session_id(), 0
        self.receipts = ChainReceipts()
        self.hops = [self.open(index) for index in range(hops)]
        self.length = 0

    def open(self, index: int, live_from: int = 0) -> "Hop":
        self.attempts += 1
        terms = make_terms(IDENTITIES[index], index, index + 1, self.attempts, self.session)
        watched = self.receipts.expect(terms, IDENTITIES[index].peer_id, live_from)
        return Hop(ReceiptWriter(IDENTITIES[index], terms, lambda signed: None), watched, {})

    def step(self, position: int, seed: int, count: int, seal: bool, only: Sequence["Hop"] | None = None) -> None:
        """Rows go through all hops, and their receipts along with them."""
        sent, receipts = rows(seed, count), []
        if only is None:
            self.receipts.sent(position, sent.digests, seal)
        for hop in self.hops if only is None else only:
            sent = hop.compute(position, sent)
            if seal:
                hop.writer.seal(receipts)
            receipts += hop.writer.take()
        last = self.hops[-1]
        for at, digest in enumerate(sent.digests, position):
            self.receipts.received(at, digest, last.watched)
        for receipt in receipts:
            self.receipts.add(receipt)
        self.length = position + count

    def settle(self) -> None:
        for hop in self.hops:
            hop.writer.seal()
            for receipt in hop.writer.since(len(hop.watched.receipts))[0]:
                self.receipts.add(receipt)
        self.receipts.check_chunks([hop.watched for hop in self.hops])

    def replace(self, index: int) -> None:
        """One hop dies before it has signed for its last work; another takes its place, filled from the journal of the
        hop before."""
        hop = self.hops[index] = self.open(index, live_from=self.length)
        inputs = self.hops[index - 1].journal
        for position in range(0, self.length, 3):
            count = min(3, self.length - position)
            hop.compute(position, Rows.join([inputs[at] for at in range(position, position + count)]))
            hop.writer.seal()


@dataclass
class Hop:
    writer: ReceiptWriter
    watched: HopReceipts
    journal: dict[int, Rows]  # outputs by position

    def compute(self, position: int, inputs: Rows) -> Rows:
        outputs = to_rows(inputs.tensor() * 2 + 1, torch.float32)
        self.writer.record(position, inputs, outputs)
        self.journal |= {position + at: outputs[at : at + 1] for at in range(len(outputs))}
        return outputs
