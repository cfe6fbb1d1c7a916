"""What the five ways to price and reward have in common. Pure: a policy takes figures and returns figures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swarm.economy.quotes import Price


@dataclass(frozen=True)
class Demand:
    """How busy one server is."""

    utilisation: float  # share of the time or of the places in use, whichever is larger, smoothed; 0 to 1


@dataclass(frozen=True)
class Work:
    """Verified work of one peer for one client in an epoch."""

    server: bytes  # addresses
    client: bytes
    block_tokens: int
    paid: int  # nano-credits that were settled for it
    burned: int  # of these


@dataclass(frozen=True)
class Epoch:
    """All that an emission is decided from."""

    number: int
    emission: int  # nano-credits, or points, that may be minted at most
    work: Sequence[Work] = ()
    stakes: Mapping[bytes, int] = field(default_factory=dict)  # by address
    weights: Mapping[bytes, Mapping[bytes, float]] = field(default_factory=dict)  # by validator: scores of servers


class Pricing(ABC):
    """One server's policy, which `observe` takes a step further. Immutable."""

    mode: str  # its name in quotes
    price: Price

    def observe(self, demand: Demand) -> "Pricing":
        """The policy after one more period of `period_s` in which the server was so busy."""
        return self

    @abstractmethod
    def idle_price(self, demand: Demand) -> Price:
        """For batch sessions, which are computed while nothing else waits."""

    def emission(self, epoch: Epoch) -> dict[bytes, int]:
        """What to mint for whom after an epoch, by address; at most `epoch.emission` in all."""
        return {}
