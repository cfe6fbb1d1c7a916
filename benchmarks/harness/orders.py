"""Random orders and bids, small enough to try every chain, and what each peer would gain by lying."""

import itertools
import random
from collections.abc import Iterator, Sequence

from swarm.errors import NoRoute
from swarm.market.auction.auction import Award, clear
from swarm.market.auction.tender import Bid, Order, SignedBid
from swarm.wire.formats.quotes import Price

LEDGER = bytes(range(32))
COMMIT, REVEAL, START = 1_000, 2_000, 60_000


def order(**changes: object) -> Order:
    terms = {"ledger": LEDGER, "model": "demo", "revision": "r1", "start": 0, "stop": 6, "prompt_tokens": 100,
             "new_tokens": 50, "maximum": Price(50, 100), "commit_by_ms": COMMIT, "reveal_by_ms": REVEAL,
             "start_by_ms": START, "salt": bytes(32)}  # fmt: skip
    return Order(**{**terms, **changes})


def unsigned(wanted: Order, peer: int, start: int, stop: int, price: Price) -> SignedBid:
    """A bid for trials by the thousand: `clear` checks no signatures, which `SignedBid.decode` has done."""
    terms = Bid(wanted.hash, wanted.ledger, bytes([peer + 1]) * 20, start, stop, price, START, bytes(32))
    return SignedBid(terms, b"")


def random_market(rng: random.Random, peers: int = 6, blocks: int = 6) -> tuple[Order, list[SignedBid]]:
    """Up to so many peers; often some blocks have one bidder or none."""
    maximum = Price(rng.randint(0, 30), rng.randint(1, 30))
    wanted = order(start=rng.randint(0, 2), stop=rng.randint(3, blocks), prompt_tokens=rng.randint(0, 9),
                   new_tokens=rng.randint(1, 9), maximum=maximum)  # fmt: skip
    bids = []
    for peer in range(rng.randint(1, peers)):
        start = rng.randrange(blocks)
        price = Price(rng.randint(0, maximum.prefill), rng.randint(0, maximum.decode))
        bids.append(unsigned(wanted, peer, start, rng.randint(start + 1, blocks + 1), price))
    return wanted, bids


def chains(wanted: Order, bids: Sequence[SignedBid]) -> Iterator[tuple[int, int]]:
    """(cost, hops) of every way to give each block to a bidder."""
    choices = [[one.bid for one in bids if one.bid.start <= b < one.bid.stop] for b in range(wanted.start, wanted.stop)]
    for chain in itertools.product(*choices):
        yield sum(wanted.due(one.price, 1) for one in chain), len(list(itertools.groupby(chain, lambda one: one.peer)))


def vickrey(wanted: Order, bids: Sequence[SignedBid], peer: bytes, award: Award) -> int:
    """A peer's payment by definition, with somebody who does every block at the maximum."""
    reserve = unsigned(wanted, 200, wanted.start, wanted.stop, wanted.maximum)
    without, _ = min(chains(wanted, [*(one for one in bids if one.bid.peer != peer), reserve]))
    own = sum(wanted.due(lease.bid, lease.stop - lease.start) for lease in award.leases if lease.peer == peer)
    return own + without - award.cost


def profit(wanted: Order, bids: Sequence[SignedBid], peer: bytes, cost: Price) -> int:
    """Of a peer whose work really costs it `cost`, in nano-credits."""
    try:
        leases = [lease for lease in clear(wanted, bids).leases if lease.peer == peer]
    except NoRoute:
        return 0
    return sum(lease.payment - wanted.due(cost, lease.stop - lease.start) for lease in leases)
