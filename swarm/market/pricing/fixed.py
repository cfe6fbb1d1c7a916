"""The server posts a price."""

from dataclasses import dataclass
from typing import ClassVar

from swarm.market.pricing.policy import Pricing, check_price
from swarm.wire.formats.quotes import Price


@dataclass(frozen=True)
class Fixed(Pricing):
    """Always the same price. Raises InvalidRequest if a quote cannot carry it."""

    posted: Price

    mode: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        check_price(self.posted)

    @property
    def price(self) -> Price:
        return self.posted
