"""A client posts an order, peers answer with sealed bids, and the cheapest chain wins at the runners-up's price.

Since a peer computes any part of the blocks that it bids for, the cheapest chain is the cheapest peer of each block,
and among equals the one with the fewest hops. A block's winner is paid what the next cheapest peer asks for that block,
or the order's maximum if there is no other. That is the Vickrey-Clarke-Groves payment for the cheapest path (Nisan and
Ronen: Algorithmic Mechanism Design, 2001): bid + cost of the cheapest chain without this peer - cost of the cheapest
chain, where every block can be had at the maximum. So:
- to bid one's true cost, if that is within the maximum, is a best response, whatever the others bid: the bid decides
  whether a peer wins, never what it is paid (but for rounding, of less than a nano-credit a block-token);
- nobody is paid less than it bid, and a client pays the maximum at most;
- a monopolist, of a block that nobody else bids for, is paid the maximum: no auction helps against it;
- further bids under fresh keys can only lower what their owner is paid.
Peers that agree on bids can raise the price up to the maximum, which the order's author should therefore mean.

No limit on the hops of a chain, and no price for a hop, since both tie the price of one block to another's: a maximum
for each block would then tempt peers to bid less than their cost, so that a chain without gaps comes about.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, NamedTuple

from swarm.errors import InvalidRequest, NoRoute
from swarm.market.auction.tender import SALT_BYTES, Bid, Order, SignedBid
from swarm.market.pricing.fixed import Fixed
from swarm.market.pricing.policy import Demand, Pricing, check_price
from swarm.wire.formats.quotes import Price

MARK_UP = 2  # of the posted price over the bid: were it lower, nobody would order


@dataclass(frozen=True)
class Auction(Pricing):
    """A peer's: it bids its own cost, and posts MARK_UP times that for those who come without an order."""

    cost: Price

    mode: ClassVar[str] = "auction"

    def __post_init__(self) -> None:
        check_price(self.price)

    @property
    def price(self) -> Price:
        return Price(*(MARK_UP * part for part in self.cost))

    def bid(self, order: Order, peer: bytes, start: int, stop: int, demand: Demand) -> Bid:
        """For those of its blocks start:stop that are wanted; batch orders get the idle price.

        Raises InvalidRequest if none is.
        """
        first, last = max(start, order.start), min(stop, order.stop)
        price = Fixed(self.cost).idle_price(demand) if order.batch else self.cost
        return Bid(order.hash, order.ledger, peer, first, last, price, order.start_by_ms, os.urandom(SALT_BYTES))


class Lease(NamedTuple):
    """One hop of the chain that won."""

    peer: bytes  # address
    start: int
    stop: int
    bid: Price
    price: Price  # nano-credits per block-token: what the session pays
    payment: int  # nano-credits for the order's tokens, by the rule above; `price`, which is whole, may come to more


@dataclass(frozen=True)
class Award:
    """What came of an order: leases in the order of their blocks."""

    order: Order
    leases: tuple[Lease, ...]

    @property
    def cost(self) -> int:
        """Nano-credits that the winners bid."""
        return sum(self.order.due(lease.bid, lease.stop - lease.start) for lease in self.leases)

    @property
    def payment(self) -> int:
        """Nano-credits that the client pays, but for rounding."""
        return sum(lease.payment for lease in self.leases)


def clear(order: Order, bids: Sequence[SignedBid], stakes: Mapping[bytes, int] | None = None) -> Award:
    """The cheapest chain that meets the order's demands, and its prices. The same for everybody with the same bids.

    stakes: nano-credits at stake, by address; needed if the order demands any. Bids for another order, above its
    maximum (in either part), that expire before its latest start, or with too little at stake, do not count. Raises
    NoRoute if blocks are left without a bid, InvalidRequest if a peer has bid twice.
    """
    if len({one.bid.peer for one in bids}) < len(bids):
        raise InvalidRequest("two bids of one peer for one order")
    fit = [one.bid for one in bids if _is_fit(order, one.bid, stakes or {})]
    missing = [block for block in range(order.start, order.stop) if not any(_covers(bid, block) for bid in fit)]
    if missing:
        raise NoRoute(f"nobody bids {tuple(order.maximum)} or less for blocks {missing}; offer more, or ask others")
    chain = groupby(enumerate(_winners(order, fit), order.start), key=lambda pair: pair[1])
    return Award(order, tuple(_lease(order, fit, bid, [block for block, _ in run]) for bid, run in chain))


def _is_fit(order: Order, bid: Bid, stakes: Mapping[bytes, int]) -> bool:
    return (
        (bid.order, bid.ledger) == (order.hash, order.ledger)
        and bid.price.prefill <= order.maximum.prefill
        and bid.price.decode <= order.maximum.decode
        and bid.expires_ms >= order.start_by_ms
        and stakes.get(bid.peer, 0) >= order.stake
    )


def _covers(bid: Bid, block: int) -> bool:
    return bid.start <= block < bid.stop


def _winners(order: Order, bids: Sequence[Bid]) -> list[Bid]:
    """The winner of each block: one of the cheapest, that among these stays so for the most blocks to come."""
    cheapest = [
        {bid for bid in bids if _covers(bid, block) and order.due(bid.price, 1) == least}
        for block in range(order.start, order.stop)
        for least in [min(order.due(bid.price, 1) for bid in bids if _covers(bid, block))]
    ]
    winners: list[Bid] = []
    while len(winners) < len(cheapest):
        rest = cheapest[len(winners) :]
        reach = {bid: next((n for n, tied in enumerate(rest) if bid not in tied), len(rest)) for bid in rest[0]}
        best = min(reach, key=lambda bid: (-reach[bid], bid.peer))
        winners += [best] * reach[best]
    return winners


def _lease(order: Order, bids: Sequence[Bid], winner: Bid, blocks: Sequence[int]) -> Lease:
    most = order.due(order.maximum, 1)
    payment = sum(
        min((order.due(bid.price, 1) for bid in bids if bid is not winner and _covers(bid, block)), default=most)
        for block in blocks
    )
    price = _between(order, winner.price, payment, len(blocks))
    return Lease(winner.peer, blocks[0], blocks[-1] + 1, winner.price, price, payment)


def _between(order: Order, bid: Price, payment: int, blocks: int) -> Price:
    """The price between bid and maximum at which the order's tokens cost `payment`, rounded up.

    Both parts lie in between: a session of fewer tokens than ordered pays no less than was bid, and no more than the
    maximum.
    """
    low, high = order.due(bid, blocks), order.due(order.maximum, blocks)
    share, whole = payment - low, max(high - low, 1)
    return Price(*(part - (part - most) * share // whole for part, most in zip(bid, order.maximum, strict=True)))
