"""Supply and demand: a busy server asks for more, an idle one for less; and what is burned may be minted again.

Every 30 s, p <- clamp(p * exp(0.2 (u - 0.7)), floor, cap), by 12.5 % at most. Taken alone that rule has three faults
(benchmarks/economy.py shows them), each with its remedy here:
- where many clients go to whoever is cheapest, a server that lowers its price is overrun, raises it, stands empty,
  and so on, by up to 20 % either way. So the 0.2 is halved whenever u crosses 0.7, and grows again if u then stays on
  one side, as it does when demand has changed;
- u comes smoothed, hence late. So the rule is given u and what it last changed by, which looks ahead;
- a price of a few nano-credits cannot move by 12.5 %. So the level is kept in millionths of a base price, and rounded
  for the quote alone. Such a quote still jumps by a whole nano-credit: base prices should be 20 or more.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import ClassVar

from swarm.errors import InvalidRequest
from swarm.market.ledger.ledger import PER_MILLION
from swarm.market.pricing.policy import Demand, Epoch, Pricing, check_price
from swarm.market.shares import split
from swarm.wire.formats.quotes import Price

TARGET = 0.7

_STEP = 0.125
_GAIN, _LEAST_GAIN = 200_000, 40_000  # millionths of a logarithm per unit of utilisation
_PATIENCE = 6  # periods on one side of TARGET, until the gain grows


@dataclass(frozen=True)
class Controller:
    """The level of a price, and what its next step depends on."""

    level: int = PER_MILLION  # millionths of the base price
    gain: int = _GAIN
    utilisation: float | None = None  # in the last period
    same: int = 0  # periods on the same side of TARGET

    def step(self, utilisation: float, floor: int, cap: int) -> "Controller":
        """After one more period. floor, cap: of the level."""
        last = utilisation if self.utilisation is None else self.utilisation
        has_crossed = (utilisation - TARGET) * (last - TARGET) < 0
        same = 0 if has_crossed else self.same + 1
        if has_crossed:
            gain = max(self.gain // 2, _LEAST_GAIN)
        else:
            gain = min(self.gain * 3 // 2, _GAIN) if same > _PATIENCE else self.gain
        ahead = utilisation - TARGET + (utilisation - last)
        factor = min(1 + _STEP, max(1 - _STEP, math.exp(gain / PER_MILLION * ahead)))
        return Controller(min(cap, max(floor, round(self.level * factor))), gain, utilisation, same)


@dataclass(frozen=True)
class Market(Pricing):
    """A price that follows demand. Raises InvalidRequest if a quote cannot carry it.

    base: what the price begins as. floor, cap: millionths of it, between which it stays. mints_ppm: millionths of what
    an epoch's clients burned that `emission` may mint again; 0: servers live by what they are paid.
    """

    base: Price
    floor: int = PER_MILLION // 10
    cap: int = 10 * PER_MILLION
    mints_ppm: int = 0
    controller: Controller = Controller()

    mode: ClassVar[str] = "market"

    def __post_init__(self) -> None:
        if not 0 < self.floor <= PER_MILLION <= self.cap:
            raise InvalidRequest(
                f"a price between {self.floor} and {self.cap} millionths of its base; the first must be above 0 and at "
                f"most {PER_MILLION}, the second at least that"
            )
        if not 0 <= self.mints_ppm <= PER_MILLION:
            raise InvalidRequest(f"to mint {self.mints_ppm} millionths of what was burned: at most {PER_MILLION}")
        check_price(self._at(self.cap))

    def _at(self, level: int) -> Price:
        half = PER_MILLION // 2
        return Price(*(max(min(part, 1), (part * level + half) // PER_MILLION) for part in self.base))

    @property
    def price(self) -> Price:
        return self._at(self.controller.level)

    def observe(self, demand: Demand) -> "Market":
        return replace(self, controller=self.controller.step(demand.utilisation, self.floor, self.cap))

    def emission(self, epoch: Epoch) -> dict[bytes, int]:
        """Burn and mint: a server's share is what clients burned for its verified work.

        No server, and so no group of them, is minted more than was burned for its own work: whoever invents work for
        itself gets less back than it burned, however it splits it up (Render's burn-and-mint equilibrium, RNP-001).
        """
        burned: dict[bytes, int] = defaultdict(int)
        for work in epoch.work:
            burned[work.server] += work.burned if work.block_tokens > 0 else 0
        return split(min(epoch.emission, sum(burned.values()) * self.mints_ppm // PER_MILLION), burned)
