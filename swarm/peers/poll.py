"""Asking many peers the same thing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from swarm.errors import InvalidRequest, PeerUnreachable
from swarm.route.peer import PeerInfo

ASKED_AT_ONCE = 16
MEASURED_AT_ONCE = 8  # where the time of the answer counts: more would wait for one another in this process's loop
TIMEOUT_S = 10.0  # for all that one peer is asked; each request has its own, shorter one

Answer = TypeVar("Answer")


async def poll(
    peers: Iterable[PeerInfo],
    ask: Callable[[PeerInfo], Awaitable[Answer]],
    at_once: int = ASKED_AT_ONCE,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Answer]:
    """What `ask` gives of each of `peers`, by peer id, in their order; those that do not answer, or whose certificate
    is none, are left out."""
    free, answers = asyncio.Semaphore(at_once), {}

    async def one(peer: PeerInfo) -> None:
        async with free:
            try:
                async with asyncio.timeout(timeout_s):
                    answers[peer.peer_id] = await ask(peer)
            except (PeerUnreachable, InvalidRequest, TimeoutError):
                pass

    asked = list(peers)
    await asyncio.gather(*map(one, asked))
    return {peer.peer_id: answers[peer.peer_id] for peer in asked if peer.peer_id in answers}
