"""What a swarm at hand pays for the blocks of a model."""

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import uvloop

from swarm.client.joining import find_members
from swarm.peers.directory import Directory
from swarm.peers.status.survey import Survey
from swarm.wire.secret import Secret

LEAVE_TIMEOUT_S = 5.0
HOUR_S = 3600


@dataclass(frozen=True)
class Market:
    """One swarm's, for one model."""

    price: int  # nano-credits for a token through a block: the median of those who ask for anything
    paid_peers: int
    tokens_per_s: float  # that the swarm has room for

    def hourly(self, blocks: int) -> int:
        """Nano-credits that so many blocks earn at most: all of the swarm's tokens go through them."""
        return round(blocks * self.tokens_per_s * self.price * HOUR_S)


def ask(addresses: Sequence[str], secret: Secret | None, models: Sequence[str]) -> dict[str, Market]:
    """By the model's name in the directory; without those that nobody is paid for. Raises PeerUnreachable."""
    return uvloop.run(_ask(addresses, secret, models))


async def _ask(addresses: Sequence[str], secret: Secret | None, models: Sequence[str]) -> dict[str, Market]:
    directory = await find_members(lambda: addresses, secret, 0.0)
    try:
        found = {model: await _look(directory, model) for model in models}
        return {model: market for model, market in found.items() if market}
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await directory.leave()


async def _look(directory: Directory, model: str) -> Market | None:
    survey = Survey(directory, model)
    try:
        peers = await directory.peers(model)
        prices = [peer.asks.price.decode for peer in peers if peer.asks.is_paid and peer.asks.price.decode]
        if not prices:
            return None
        view = await survey.look()
        if not view.expected_tokens_per_s:
            return None
        return Market(round(statistics.median(prices)), len(prices), view.expected_tokens_per_s)
    finally:
        await survey.close()
