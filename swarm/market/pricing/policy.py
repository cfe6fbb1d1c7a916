"""What the five ways to price and reward have in common. Pure: a policy takes figures and returns figures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

from swarm.errors import InvalidRequest
from swarm.wire.formats.amounts import check_amount
from swarm.wire.formats.quotes import MAX_PRICE, Price

PERIOD_S = 30.0  # between two calls of `observe`
_IDLE_DISCOUNT = 0.5  # for batch sessions, up to half of the places in use; from there it shrinks to nothing


@dataclass(frozen=True)
class Demand:
    """How busy one server is."""

    utilisation: float  # share of the time or of the places in use, whichever is larger, smoothed; 0 to 1

    def __post_init__(self) -> None:
        if not 0 <= self.utilisation <= 1:
            raise InvalidRequest(f"utilisation is a share from 0 to 1, and not {self.utilisation}")


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
    weights: Mapping[bytes, Mapping[bytes, int]] = field(default_factory=dict)  # by validator: its scores of servers

    def __post_init__(self) -> None:
        check_amount(self.emission)


class Pricing(ABC):
    """One server's policy, which `observe` takes a step further. Immutable."""

    mode: ClassVar[str]  # its name in quotes

    @property
    @abstractmethod
    def price(self) -> Price:
        """What it asks now."""

    def observe(self, demand: Demand) -> "Pricing":
        """The policy after one more period of PERIOD_S in which the server was so busy."""
        return self

    def idle_price(self, demand: Demand) -> Price:
        """For batch sessions, which are computed while nothing else waits.

        Half of the price or less up to a utilisation of 0.5; the discount shrinks from there, and a full server gives
        none. Rounded down: never less of a discount than that.
        """
        rest = 1 - Fraction(_IDLE_DISCOUNT) * min(Fraction(1), 2 * (1 - Fraction(demand.utilisation)))
        return Price(*(int(rest * part) for part in self.price))

    def emission(self, epoch: Epoch) -> dict[bytes, int]:
        """What to mint for whom after an epoch, by address; at most `epoch.emission` in all."""
        return {}


def check_price(price: Price) -> Price:
    """`price`, if a quote can carry it. Raises InvalidRequest."""
    if not all(isinstance(part, int) and 0 <= part <= MAX_PRICE for part in price):
        raise InvalidRequest(f"a price is a whole number of nano-credits from 0 to {MAX_PRICE}, not {tuple(price)}")
    return price
