"""Choosing a chain of peers that covers the model: pure, no I/O."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.errors import NoRoute
from swarm.route.record import PeerInfo


@dataclass(frozen=True)
class Hop:
    """One peer's part in a chain."""

    peer: PeerInfo
    start: int  # first block it computes in this chain
    stop: int  # one past the last


def fewest_hops(peers: Sequence[PeerInfo], num_blocks: int, rng: random.Random) -> list[Hop]:
    """A chain of `peers` over blocks 0 to `num_blocks` with the fewest hops; ties are broken at random.

    Taking, at each block, a peer that reaches furthest is optimal here: any other chain could be exchanged, hop by
    hop, for this one without getting longer. Raises NoRoute naming the blocks that nobody covers.
    """
    chain: list[Hop] = []
    block = 0
    while block < num_blocks:
        furthest = max((peer.stop for peer in peers if peer.start <= block), default=0)
        if furthest <= block:
            raise NoRoute(_explain(peers, num_blocks))
        candidates = [peer for peer in peers if peer.start <= block and peer.stop == furthest]
        chain.append(Hop(rng.choice(candidates), block, min(furthest, num_blocks)))
        block = furthest
    return chain


def missing_blocks(peers: Sequence[PeerInfo], num_blocks: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) of blocks that none of `peers` serves."""
    gaps, covered = [], 0
    for start, stop in sorted(peer.blocks for peer in peers):
        if start > covered:
            gaps.append((covered, start))
        covered = max(covered, stop)
    if covered < num_blocks:
        gaps.append((covered, num_blocks))
    return gaps


def _explain(peers: Sequence[PeerInfo], num_blocks: int) -> str:
    gaps = [f"{start}:{stop}" for start, stop in missing_blocks(peers, num_blocks)]
    return (
        f"no peer serves blocks {', '.join(gaps)} of this model's {num_blocks}; "
        f"start one with `python -m swarm.server --blocks {gaps[0]}`"
    )
