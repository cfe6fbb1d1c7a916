"""Orders, and peers that bid for them."""

import asyncio
import dataclasses
import os

from swarm.clock import now_ms
from swarm.market.auction.auction import Auction
from swarm.market.auction.bidding import Bidding
from swarm.market.auction.tender import Bid, Order, SignedBid
from swarm.market.pricing.policy import Demand
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price
from swarm.wire.identity import Identity

CLIENT, *PEERS = (Identity(bytes([number]) * 32) for number in range(1, 9))

LEDGER = bytes([9]) * 32

MAXIMUM = Price(200, 4000)

WINDOW_MS = 1_000


def ordered(window_ms: int = WINDOW_MS, **changes: object) -> Order:
    now = now_ms()
    usual = Order(
        LEDGER, "m", "r", 0, 6, 10, 40, MAXIMUM, now + window_ms, now + 2 * window_ms, now + 2 * window_ms + 10_000,
        os.urandom(32),
    )  # fmt: skip
    return dataclasses.replace(usual, **changes)


def bidding_of(peer: Identity, start: int, stop: int, price: Price, kind: type[Bidding] = Bidding, **more) -> Bidding:
    """ledger: where it is paid. now: its clock."""
    record = pb.PeerRecord(peer_id=peer.peer_id, model="m", revision="r", start=start, stop=stop, num_blocks=6)
    policy = Auction(price)

    def bid(order: Order, first: int, last: int) -> Bid:
        return policy.bid(order, peer.address, first, last, Demand(0.0))

    return kind(lambda: PeerInfo.of(record), peer, more.pop("ledger", LEDGER), bid, **more)


# --- what a server answers -------------------------------------------------------------------------------------------


def ask(bidding: Bidding, order: Order, network: str = "192.0.2.1", **more: object) -> pb.Tendered:
    return asyncio.run(bidding.answer(pb.Tender(order=order.encode(), **more), network))


def rival_bid(order: Order, peer: int, price: Price) -> SignedBid:
    return Auction(price).bid(order, PEERS[peer].address, 0, 6, Demand(0.0)).sign(PEERS[peer])
