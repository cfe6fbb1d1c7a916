"""What a client does about receipts while a session goes on: it says when they are due, and checks them as they come.

They come with answers, and are looked at while the hops are at work on the next step.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from swarm.session.chain import Chain
from swarm.session.hop import HopStream
from swarm.session.observers import HopObserver, Hops
from swarm.session.session import Session
from swarm.verify.receipts.checking import ChainReceipts, FaultKind, HopReceipts
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import SignedReceipt, Terms
from swarm.wire.identity import address_of

SEAL_TOKENS = 32  # after which every hop signs a receipt
SEAL_S = 1.0  # or after this time


class ReceiptObserver(HopObserver):
    """Of one session."""

    def __init__(
        self, on_receipt: Callable[[SignedReceipt], None] = lambda signed: None, seal_tokens: int = SEAL_TOKENS
    ):
        """on_receipt: told of every one that fits. seal_tokens: after which one is due; 1: with every step."""
        self.receipts = ChainReceipts(on_receipt)
        self._seal_tokens = seal_tokens
        self._hops: dict[HopStream, HopReceipts] = {}
        self._sealed, self._unsealed = time.monotonic(), 0  # when the last seal was asked for, and tokens since
        self._arrived: list[bytes] = []  # that wait to be checked
        self._parted: set[HopStream] = set()

    @property
    def is_sealed(self) -> bool:
        """Whether the hops were asked to sign for everything up to the last step."""
        return self._unsealed == 0

    def of(self, hop: HopStream) -> HopReceipts:
        """What a hop has signed since it was opened."""
        return self._hops[hop]

    def opened(self, hop: HopStream, request: pb.Open, answer: pb.Opened, live_from: int) -> None:
        peer = hop.hop.peer
        terms = Terms.of(request, address_of(peer.peer_id), request.weights, peer.format, peer.numerics_id)
        self._hops[hop] = self.receipts.expect(terms, peer.peer_id, live_from)

    def sending(self, hops: Hops, position: int, rows: codec.Rows, prompt: bool) -> bool:
        """A message of a prompt has a receipt of its own."""
        tokens, now = len(rows.digests), time.monotonic()
        self._unsealed += tokens
        seal = tokens > 1 or self._unsealed >= self._seal_tokens or now - self._sealed > SEAL_S
        if seal:
            self._sealed, self._unsealed = now, 0
        self.receipts.sent(position, rows.digests, seal)
        return seal

    async def computing(self, hops: Hops) -> None:
        self._check_arrived()

    def answered(self, hops: Hops, step: pb.Step, prompt: bool, digests: Sequence[bytes]) -> None:
        self._arrived += step.receipts
        for position, digest in enumerate(digests, step.position + step.count - len(digests)):
            self.receipts.received(position, digest, self._hops[hops[-1]])

    def took_over(self, hops: Hops, position: int) -> None:
        for hop in hops:
            self._hops[hop].take_over(position)

    async def leaving(self, hop: HopStream) -> None:
        await self._collect([hop])

    def parting(self, hop: HopStream, receipts: Sequence[bytes]) -> None:
        """Once: what comes unasked can come without end."""
        if hop not in self._parted:
            self._parted.add(hop)
            self._arrived += receipts

    async def closing(self, hops: Hops, alive: Hops) -> None:
        self._check_arrived()
        await self._collect(alive)
        self._check_arrived()  # a hop may have parted rather than answered
        for hop in alive:  # also if it broke off when it was asked
            if self._hops[hop].signed_length < hop.answered:
                self.receipts.blame(hop.hop.peer.peer_id, FaultKind.MISSING, f"up to position {hop.answered}")
        self.receipts.check_chunks([self._hops[hop] for hop in hops])

    def _check_arrived(self) -> None:
        arrived, self._arrived = self._arrived, []
        for receipt in arrived:
            self.receipts.add(receipt)

    async def _collect(self, hops: Iterable[HopStream]) -> None:
        """Let these hops sign what they have computed, and ask them for what they signed and nobody passed on."""
        asking = [hop.request(pb.Seal(first=len(self._hops[hop].receipts))) for hop in hops if not hop.failure]
        for answer in await asyncio.gather(*asking):
            for receipt in answer.receipts if isinstance(answer, pb.Sealed) else ():
                self.receipts.add(receipt)


@dataclass(frozen=True)
class SignedSession:
    """A session, and what its hops have signed."""

    session: Session
    signed: ReceiptObserver

    @property
    def chain(self) -> Chain:
        return self.session.chain
