"""A market of servers that price by their own utilisation, and of clients that go to the cheaper ones. Simulated."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm.market.pricing.policy import PERIOD_S, Demand, Pricing


@dataclass(frozen=True)
class Setting:
    """What the servers cannot know of their market."""

    servers: int = 40
    elasticity: float = 1.0  # 1 % more on all prices: so many % less demand
    switching: float = 4.0  # 1 % more on one server's price alone: so many % fewer of the clients come to it
    smoothing_s: float = 60.0  # time constant of the utilisation that a server observes
    delay: int = 1  # periods until clients know a new price
    noise: float = 0.02  # relative deviation of a period's load, of each server on its own
    seed: int = 0


@dataclass(frozen=True)
class Period:
    """What happened in one of them."""

    price: float  # capacity-weighted mean of the decode prices
    utilisation: float
    prices: tuple[int, ...]


class Market:
    """Demand of 1 fills 70 % of all servers at a price of `reference`, where the price would rest."""

    def __init__(self, policies: Sequence[Pricing], reference: float, setting: Setting):
        self.policies = list(policies)
        self._reference, self._setting = reference, setting
        self._random = random.Random(setting.seed)
        self._capacity = [self._random.uniform(0.5, 2) for _ in self.policies]
        self._appeal = [self._random.uniform(0.8, 1.25) * size for size in self._capacity]  # near, well known
        self._seen = [0.7] * len(self.policies)
        self._published = [self._prices()] * (setting.delay + 1)

    def _prices(self) -> tuple[int, ...]:
        return tuple(policy.price.decode for policy in self.policies)

    def _loads(self, demand: float) -> list[float]:
        """Work that comes to each server, in units of what one can do in a period. A full one turns clients away, who
        then go to the others."""
        known = [max(price, 1) / self._reference for price in self._published[0]]
        choice = [appeal * cost**-self._setting.switching for appeal, cost in zip(self._appeal, known, strict=True)]
        level = math.fsum(c * cost for c, cost in zip(choice, known, strict=True)) / math.fsum(choice)
        rest = 0.7 * sum(self._capacity) * demand * level**-self._setting.elasticity
        free, loads = list(self._capacity), [0.0] * len(self._capacity)
        for _ in range(5):
            total = math.fsum(c for c, room in zip(choice, free, strict=True) if room > 0)
            if rest < 1e-9 or not total:
                break
            come = [min(room, rest * c / total) for c, room in zip(choice, free, strict=True)]
            loads = [load + more for load, more in zip(loads, come, strict=True)]
            free = [room - more for room, more in zip(free, come, strict=True)]
            rest -= math.fsum(come)
        return loads

    def step(self, demand: float) -> Period:
        used = [
            min(1.0, max(0.0, load / size * self._random.gauss(1, self._setting.noise)))
            for load, size in zip(self._loads(demand), self._capacity, strict=True)
        ]
        keep = math.exp(-PERIOD_S / self._setting.smoothing_s) if self._setting.smoothing_s else 0.0
        self._seen = [keep * seen + (1 - keep) * now for seen, now in zip(self._seen, used, strict=True)]
        self.policies = [policy.observe(Demand(u)) for policy, u in zip(self.policies, self._seen, strict=True)]
        prices = self._prices()
        self._published = [*self._published[1:], prices]
        weigh = [size / sum(self._capacity) for size in self._capacity]
        mean = math.fsum(w * p for w, p in zip(weigh, prices, strict=True))
        return Period(mean, math.fsum(w * u for w, u in zip(weigh, used, strict=True)), prices)


def trace(policy: Callable[[], Pricing], reference: float, setting: Setting, demands: Sequence[float]) -> list[Period]:
    """One period for each of `demands`, in a market whose servers all begin with `policy`."""
    market = Market([policy() for _ in range(setting.servers)], reference, setting)
    return [market.step(demand) for demand in demands]
