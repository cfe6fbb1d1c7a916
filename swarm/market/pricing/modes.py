"""The policies by their names."""

from collections.abc import Callable

from swarm.errors import InvalidRequest
from swarm.market.auction.auction import Auction
from swarm.market.pricing.contribution import Contribution
from swarm.market.pricing.fixed import Fixed
from swarm.market.pricing.market import Market
from swarm.market.pricing.policy import Pricing
from swarm.market.rewards.rewards import Rewards
from swarm.program import option
from swarm.wire.formats.quotes import DEFAULT_DECODE, PREFILL_SHARE, Price

_MODES: dict[str, Callable[[Price], Pricing]] = {
    "fixed": Fixed,
    "market": Market,
    "auction": Auction,
    "rewards": Rewards,
    "contribution": lambda price: Contribution(),
}


def make_pricing(mode: str, decode: int | None = None, prefill: int | None = None) -> Pricing:
    """The policy called `mode`, beginning at these prices (nano-credits per block-token).

    decode: by default DEFAULT_DECODE. prefill: by default a PREFILL_SHARE-th of it. Raises InvalidRequest.
    """
    if mode not in _MODES:
        raise InvalidRequest(f"unknown pricing {mode!r:.40}; use one of {', '.join(_MODES)}")
    if mode == "contribution" and (decode or prefill):
        raise InvalidRequest(f"with contribution, work has no price: leave {option('price')} out")
    decode = DEFAULT_DECODE if decode is None else decode
    return _MODES[mode](Price(decode // PREFILL_SHARE if prefill is None else prefill, decode))
