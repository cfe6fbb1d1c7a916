"""A client's auctions: it posts an order, collects sealed bids, and takes the cheapest chain at the runners-up's price.

See swarm.market.auction.auction for what that leads peers to bid. Peers that replace others within a session are taken
at the price that they post: there is no time for an auction then.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from swarm.clock import now_ms
from swarm.errors import InvalidRequest, NoRoute, SwarmError
from swarm.market.auction.auction import Auction, clear
from swarm.market.auction.offer import prove
from swarm.market.auction.sealed import MAX_BIDS, SealedBids
from swarm.market.auction.tender import SALT_BYTES, Commitment, Order, SignedBid
from swarm.model.checkpoint import Checkpoint
from swarm.peers.absent import Avoid
from swarm.peers.policy import Terms
from swarm.program import option
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.opening import Choose
from swarm.session.router import Router
from swarm.session.wanted import Wanted
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import MAX_PRICE, PREFILL_SHARE, Offer, Price
from swarm.wire.identity import address_of
from swarm.wire.peer_names import short_id
from swarm.wire.transport import Peer

START_MS = 10_000  # from when all bids are revealed to the latest start of a session
MARGIN_MS = 2_000  # before that, it is time for another order
NAMED = 8  # peers, in an error


@dataclass(frozen=True)
class Tenders:
    """What came of one order."""

    order: Order
    asked: Mapping[bytes, PeerInfo]  # by address
    bids: tuple[SignedBid, ...]
    refusals: Mapping[bytes, str]  # why the others made no bid that counts

    @property
    def is_late(self) -> bool:
        """Whether there is no time left to open a session."""
        return now_ms() > self.order.start_by_ms - MARGIN_MS

    def chain(self, usable: Collection[str]) -> list[Hop]:
        """The award's, where the bids of `usable` peers (ids) count and no others. Raises NoRoute."""
        bids = [one for one in self.bids if self.asked[one.bid.peer].peer_id in usable]
        try:
            award = clear(self.order, bids)
        except NoRoute as error:
            raise NoRoute(f"{error}. {self._account(bids)}") from error
        proof = prove(self.order.hash, bids)
        return [
            Hop(self.asked[lease.peer], lease.start, lease.stop, Offer(proof, lease.price)) for lease in award.leases
        ]

    def _account(self, bids: Sequence[SignedBid]) -> str:
        """Who bid what, and who did not."""
        lines = [
            f"peer {short_id(self.asked[one.bid.peer].peer_id)} bids {tuple(one.bid.price)} for blocks "
            f"{one.bid.start}:{one.bid.stop}"
            for one in bids
        ] + [f"none of peer {short_id(self.asked[peer].peer_id)}: {why}" for peer, why in self.refusals.items()]
        return f"{len(bids)} bids, in nano-credits for a block-token of prompt and answer: " + "; ".join(lines[:NAMED])


async def hold(order: Order, asked: Mapping[bytes, PeerInfo], connect: Callable[[PeerInfo], Peer]) -> Tenders:
    """Ask these peers (by address) for bids, until the order's deadlines. Who is late, or cheats, only harms itself."""
    sealed, refusals = SealedBids(order), {}

    async def ask(peer: bytes, until_ms: int, take: Callable[[bytes, pb.Tendered], None], request: pb.Tender) -> None:
        timeout_s = max(until_ms - now_ms(), 0) / 1000
        try:
            take(peer, await connect(asked[peer]).tender(request, timeout_s))
        except SwarmError as error:
            refusals[peer] = str(error)

    def commit(peer: bytes, answer: pb.Tendered) -> None:
        commitment = Commitment.decode(answer.commitment)
        if commitment.peer != peer:
            raise InvalidRequest("another peer's commitment")
        sealed.accept(commitment, now_ms())

    def reveal(peer: bytes, answer: pb.Tendered) -> None:
        signed, info = SignedBid.decode(answer.bid), asked[peer]
        if signed.bid.peer != peer or not info.start <= signed.bid.start < signed.bid.stop <= info.stop:
            raise InvalidRequest("a bid of another peer, or for blocks that it does not serve")
        sealed.reveal(signed, now_ms())

    told = order.encode()
    await asyncio.gather(*(ask(peer, order.commit_by_ms, commit, pb.Tender(order=told)) for peer in asked))
    await asyncio.sleep(max(order.commit_by_ms - now_ms(), 0) / 1000)
    shown = {one.peer: one.encode() for one in sealed.commitments}
    await asyncio.gather(*(
        ask(peer, order.reveal_by_ms, reveal, pb.Tender(order=told, commitment=own, commitments=shown.values()))
        for peer, own in shown.items()
    ))  # fmt: skip
    return Tenders(order, asked, sealed.bids, refusals)


def reserve(max_price: int, blocks: int, prompt_tokens: int, new_tokens: int) -> Price:
    """The most that a block-token may cost if one token through all blocks is to cost `max_price` nano-credits at most,
    on average over prompt and new tokens; one of a prompt as much less as it usually does."""
    tokens = prompt_tokens + new_tokens
    decode = max_price * tokens * PREFILL_SHARE // (blocks * (prompt_tokens + PREFILL_SHARE * new_tokens))
    return Price(min(decode // PREFILL_SHARE, MAX_PRICE), min(decode, MAX_PRICE))


class Auctioneer:
    """Of one client. Lives in one event loop."""

    def __init__(self, router: Router, checkpoint: Checkpoint, terms: Terms, blocks: tuple[int, int], window_s: float):
        """terms: with a ledger and a max_price. blocks: that a chain covers. window_s: that peers have to commit
        themselves, and again to reveal. Raises InvalidRequest for other terms."""
        if terms.ledger is None:
            raise InvalidRequest(
                f"an auction needs a ledger to pay on; say which, with {option('ledger')} or SWARM_LEDGER"
            )
        if terms.max_price is None:
            raise InvalidRequest(
                f"an auction needs a {option('max_price')}: a peer without a competitor is paid as much"
            )
        self._ledger, self._max_price = terms.ledger, terms.max_price
        self._router, self._checkpoint, self._terms = router, checkpoint, terms
        self._start, self._stop = blocks
        self._window_ms = int(window_s * 1000)

    def choose(self, wanted: Wanted) -> Choose:
        """For one session: its chain by an auction, whose bids are used again if a winner turns out to be full.

        The chain raises NoRoute that says who bid what, RevisionMismatch.
        """
        tenders: Tenders | None = None

        async def chain(avoid: Avoid) -> list[Hop]:
            nonlocal tenders
            if tenders is None or tenders.is_late:
                asked = await self._bidders()
                order = self._order(wanted)
                tenders = await hold(order, asked, self._router.connection_to)
            return tenders.chain({peer.peer_id for peer in self._router.table.usable(avoid)})

        return chain

    def _order(self, wanted: Wanted) -> Order:
        blocks, commit_by_ms = self._stop - self._start, now_ms() + self._window_ms
        reveal_by_ms = commit_by_ms + self._window_ms
        most = max(self._max_price - wanted.priority_fee * blocks, 0)
        maximum = reserve(most, blocks, wanted.prompt_tokens, wanted.new_tokens)
        return Order(
            self._ledger, self._checkpoint.name, self._checkpoint.revision, self._start, self._stop,
            wanted.prompt_tokens, wanted.new_tokens, maximum, commit_by_ms, reveal_by_ms, reveal_by_ms + START_MS,
            os.urandom(SALT_BYTES), numerics=self._terms.numerics_id or "", batch=wanted.background,
        )  # fmt: skip

    async def _bidders(self) -> dict[bytes, PeerInfo]:
        """By address, the cheapest first by what they post. Raises NoRoute if there are none."""
        peers = self._bidding(await self._router.usable())
        if not all(any(peer.start <= block < peer.stop for peer in peers) for block in range(self._start, self._stop)):
            await self._router.table.look_again()
            peers = self._bidding(self._router.table.usable())
        if not peers:
            raise NoRoute(
                f"no peer bids for orders of {self._checkpoint.name!r} on the ledger {self._ledger.hex()[:16]}; "
                "leave the auction out to take peers at the prices that they post"
            )
        peers.sort(key=lambda peer: peer.asks.price.decode)
        return {address_of(peer.peer_id): peer for peer in peers[:MAX_BIDS]}

    def _bidding(self, peers: Sequence[PeerInfo]) -> list[PeerInfo]:
        return [
            peer for peer in peers
            if peer.asks.mode == Auction.mode and peer.asks.ledger == self._ledger
            and peer.start < self._stop and peer.stop > self._start
        ]  # fmt: skip
