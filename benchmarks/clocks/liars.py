"""Nodes of the directory among which some lie about the time."""

import asyncio
import time
from collections.abc import Iterator

from harness.clocked_nodes import ClockedNodes
from swarm import clock
from swarm.peers.dht import timekeeper
from swarm.peers.directory import Directory

LIARS_LOOK_S = 6.0
LIE_S = 540.0
SWARMS = ((1, 1), (2, 1), (3, 1), (3, 2), (5, 4), (2, 2), (1, 2), (2, 4))  # honest, liars


async def _with_liars(honest: int, liars: int, lie_s: float) -> dict[str, object]:
    """One row: honest nodes of this process, whose clock is right, and lying ones of another."""
    nodes, peers = [], []
    for host in range(1, honest + 1):
        nodes.append(await Directory.join(peers, host=f"127.0.0.{host}"))
        peers = peers or await nodes[0].addresses()

    def look() -> tuple[float, float]:
        hosts = [f"127.0.1.{host}" for host in range(1, liars + 1)]
        with (
            ClockedNodes(hosts=hosts, peers=peers, lie_s=lie_s) as lying,
            ClockedNodes(peers=[*lying.addresses, *peers]) as newcomer,
        ):
            came_s = newcomer.ahead_s()
            time.sleep(LIARS_LOOK_S)
            return came_s, newcomer.ahead_s()

    before_s = clock.CLOCK.shifted_s
    came_s, stayed_s = await asyncio.to_thread(look)
    moved_s = clock.CLOCK.shifted_s - before_s
    clock.CLOCK.shift(-moved_s)
    await asyncio.gather(*(node.leave() for node in nodes))
    return {
        "honest": honest, "liars": liars, "say that it is later by s": lie_s, "who comes is off by s": round(came_s, 2),
        f"after {LIARS_LOOK_S:.0f} s": round(stayed_s, 2), "who was there, moved by s": round(moved_s, 3),
    }  # fmt: skip


def with_liars() -> Iterator[dict[str, object]]:
    timekeeper.ASK_EVERY_S = 1.0
    for honest, liars in SWARMS:
        for lie_s in (LIE_S, -LIE_S):
            yield asyncio.run(_with_liars(honest, liars, lie_s))
