"""No money: who computes for others earns points, and points buy a place nearer the front of servers' queues.

Work is free. Points are the unit of a ledger of their own: an epoch's emission mints them, and a session that offers
more points per block-token, as a priority fee, goes before others. Points are worth nothing else.

What inventing work brings. A client and a server that belong together can sign for work that nobody did, and pay
nothing for it. No rule that looks at signatures alone can tell. So it is bounded: neither one server's work nor the
work for one client counts for more than MOST_PPM of an epoch's emission, and what exceeds it is not minted. Whoever
runs s servers and c clients gets at most min(s, c) * MOST_PPM of it: a place in queues for work that is free. It is
not prevented, since keys cost nothing; and invented work makes everybody else's share smaller, however little its
inventors get. A swarm that minds lets in members only, who share a secret, or uses money.

A ledger takes nothing from an account, so points that nobody spends stay. What they buy shrinks: they are compared with
other fees, and every epoch mints as many as the one before.
"""

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from swarm.market.ledger.ledger import PER_MILLION
from swarm.market.pricing.policy import Epoch, Pricing
from swarm.wire.formats.quotes import FREE, Price

MOST_PPM = 50_000  # of an epoch's emission, for one server, and for the work for one client


@dataclass(frozen=True)
class Contribution(Pricing):
    """Points in proportion to verified block-tokens."""

    mode: ClassVar[str] = "contribution"

    @property
    def price(self) -> Price:
        return FREE

    def emission(self, epoch: Epoch) -> dict[bytes, int]:
        done = [work for work in epoch.work if work.block_tokens > 0]
        most = epoch.emission * MOST_PPM // PER_MILLION
        whole = sum(work.block_tokens for work in done)
        by_client: dict[bytes, int] = defaultdict(int)
        for work in done:
            by_client[work.client] += work.block_tokens
        points: dict[bytes, Fraction] = defaultdict(Fraction)
        for work in done:
            each = min(Fraction(epoch.emission, whole), Fraction(most, by_client[work.client]))
            points[work.server] += each * work.block_tokens
        return {server: counted for server, earned in points.items() if (counted := min(int(earned), most))}
