"""Why a peer goes where it goes, in words. Pure."""

from collections.abc import Sequence

import numpy as np

from swarm.route.placement.placed import MIN_REPLICAS, Placed, replicas, throughput
from swarm.route.placement.rebalance import Move


def why_placed(blocks: tuple[int, int], blocks_per_s: float, placed: Sequence[Placed], num_blocks: int) -> str:
    """Why `place` let a newcomer take `blocks`. placed: the others."""
    start, stop = blocks
    counts = replicas(placed, num_blocks)
    if not counts.any():
        return f"nobody serves anything yet, and {stop - start} of {num_blocks} blocks fit here"
    if missing := _within(counts == 0, blocks):
        return f"nobody serves {missing}"
    if alone := _within(counts == MIN_REPLICAS - 1, blocks):
        return f"only one peer serves {alone}"
    newcomer = Placed("", start, stop, stop - start, blocks_per_s)
    before, after = throughput(placed, num_blocks), throughput([*placed, newcomer], num_blocks)
    if after > before:
        return _gain(before, after)
    return "there the swarm has least to spare"


def why_moved(move: Move, placed: Sequence[Placed], num_blocks: int) -> str:
    """placed: all, where they are before it."""
    counts = replicas(placed, num_blocks)
    if missing := _within(counts == 0, (move.start, move.stop)):
        return f"nobody serves {missing}"
    if move.before == 0:
        missing = _within(counts == 0, (0, num_blocks))
        return f"nobody serves {missing}, and others can go there once this peer has moved"
    plan = f", after {move.moves} moves at the most" if move.moves > 1 else ""
    return f"{_gain(move.before, move.after)}{plan}"


def _gain(before: float, after: float) -> str:
    return f"the swarm could pass {after:.3g} tokens/s instead of {before:.3g}"


def _within(wanted: np.ndarray, blocks: tuple[int, int]) -> str:
    """The ranges of `blocks` for which `wanted` [num_blocks] is true, as "blocks 0:5, 10:20"; empty: none."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted[slice(*blocks)], [False])).astype(int)))
    ranges = ", ".join(f"{blocks[0] + start}:{blocks[0] + stop}" for start, stop in edges.reshape(-1, 2))
    return f"blocks {ranges}" if ranges else ""
