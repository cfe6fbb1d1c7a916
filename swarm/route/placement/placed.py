"""Which contiguous range of blocks each peer should serve: the model, and where a newcomer goes. Pure.

A peer computes `blocks_per_s` block-tokens a second, so serving k blocks it passes blocks_per_s / k tokens/s, or less
where its network is slower. A chain may enter a peer's range anywhere and leaves it at its end. The tokens per second
that a swarm can pass are then a maximum flow through peers with capacities, and that has a closed form:

    throughput = min over blocks b of the summed tokens/s of the peers that serve b

Proof. By Menger's theorem the maximum flow is the cheapest set of peers whose loss leaves no chain. As long as the
remaining ranges cover every block there is a chain: start with a peer that serves block 0, and go on, from each
peer's end, to one that serves the next block. So the lost set holds all peers of some block; and losing all peers of
one block is enough. (It is a safe figure: a chain that enters a range late costs that peer less than is assumed here.)

Without network limits the rates of all blocks add up to the summed blocks_per_s of all peers whatever their ranges,
so no placement passes more than that sum over the number of blocks; `throughput_bound` is a little sharper.

swarm.route.placement.rebalance moves peers that are already placed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from swarm.route.costs import BATCHES, DEFAULT_BLOCK_S
from swarm.route.peer import PeerInfo

MIN_REPLICAS = 2  # of a block, before throughput counts: one peer may vanish
NEARLY = 0.99  # placements this close to the best are as good, and the one with the fewest hops is taken
WIDTHS_TRIED = 8  # of a peer that has memory for many blocks
_SHARPNESS = 4  # squarings: block rates are averaged with exponent -(2 ** _SHARPNESS)
_MOST = 1e9  # keeps the powers finite


@dataclass(frozen=True)
class Placed:
    """A peer and the blocks that it serves."""

    peer_id: str
    start: int  # first block served
    stop: int  # one past the last
    max_blocks: int  # as many as it has memory for
    blocks_per_s: float  # tokens/s through one block, in large batches
    network_tokens_per_s: float = math.inf
    pinned: bool = False  # its contributor chose the blocks: it does not move

    @property
    def tokens_per_s(self) -> float:
        """What it passes with the blocks that it serves."""
        return self.tokens_per_s_with(self.stop - self.start)

    def tokens_per_s_with(self, num_served: int) -> float:
        return min(self.blocks_per_s / num_served, self.network_tokens_per_s)

    def at(self, start: int, stop: int) -> "Placed":
        return replace(self, start=start, stop=stop)


def placed_from_record(info: PeerInfo) -> Placed:
    """What a directory record says, as the planner wants it.

    The speed is that of the largest batch measured, to two significant digits: everyone plans for all, and the noise
    of a new measurement should not change the plan.
    """
    decode_s = info.costs.decode_s
    blocks_per_s = BATCHES[len(decode_s) - 1] / decode_s[-1] if decode_s else 1 / DEFAULT_BLOCK_S
    max_blocks = min(max(info.max_blocks, info.stop - info.start), info.num_blocks)
    two_digits = float(f"{blocks_per_s:.1e}")
    return Placed(info.peer_id, info.start, info.stop, max_blocks, two_digits, pinned=info.pinned)


def block_rates(placed: Sequence[Placed], num_blocks: int) -> np.ndarray:
    """Tokens/s that the peers of each block can pass together: [num_blocks] float64."""
    changes = np.zeros((len(placed) + 1, num_blocks))
    for row, peer in enumerate(placed):
        changes[row, peer.start : peer.stop] = peer.tokens_per_s
    rates: np.ndarray = changes.sum(0)
    return rates


def replicas(placed: Sequence[Placed], num_blocks: int) -> np.ndarray:
    """How many peers serve each block: [num_blocks] int64."""
    counts = np.zeros(num_blocks, dtype=np.int64)
    for peer in placed:
        counts[peer.start : peer.stop] += 1
    return counts


def throughput(placed: Sequence[Placed], num_blocks: int) -> float:
    """Tokens/s that the swarm can pass; 0 where a block has no peer."""
    return float(block_rates(placed, num_blocks).min())


def penalties(rates: np.ndarray, scale: float) -> np.ndarray:
    """(rates / scale) ** -(2 ** _SHARPNESS), elementwise; 0 where a rate is 0, for gaps are counted apart.

    Its mean over the blocks is a smooth stand-in for throughput: of several equally low blocks, filling one does not
    raise the lowest rate, but it does lower this.
    """
    powers: np.ndarray = np.divide(scale, rates, out=np.zeros_like(rates), where=rates > 0)
    np.minimum(powers, _MOST, out=powers)
    for _ in range(_SHARPNESS):
        np.multiply(powers, powers, out=powers)
    return powers


def fair_rate(placed: Sequence[Placed], num_blocks: int) -> float:
    """Tokens/s that every block would have if compute could be spread evenly."""
    return sum(peer.blocks_per_s for peer in placed) / num_blocks


def throughput_bound(placed: Sequence[Placed], num_blocks: int) -> float:
    """Tokens/s that no placement of the peers exceeds, those that are pinned staying.

    For `goal` tokens/s a peer is of use for at most min(blocks_per_s, max_blocks * min(network, goal)) block-tokens a
    second; the largest goal for which all these add up to what the blocks lack is found by bisection.
    """
    pinned = block_rates([peer for peer in placed if peer.pinned], num_blocks)
    free = [peer for peer in placed if not peer.pinned]
    low, high = 0.0, float(pinned.min()) + sum(peer.blocks_per_s for peer in free)
    for _ in range(50):
        goal = (low + high) / 2
        lacking = np.maximum(goal - pinned, 0).sum()
        low, high = (goal, high) if supply(free, goal) >= lacking * (1 - 1e-12) else (low, goal)
    return high


def supply(peers: Sequence[Placed], goal: float) -> float:
    """Block-tokens/s that `peers` can add, at the most, to blocks that want `goal` tokens/s each."""
    return sum(min(peer.blocks_per_s, peer.max_blocks * min(peer.network_tokens_per_s, goal)) for peer in peers)


@lru_cache(maxsize=1024)
def sensible_widths(max_blocks: int, num_blocks: int) -> tuple[int, ...]:
    """How many blocks a peer may try to serve, widest first: all numbers up to WIDTHS_TRIED, of more a selection."""
    widest = min(max_blocks, num_blocks)
    if widest <= WIDTHS_TRIED:
        return tuple(range(widest, 0, -1))
    return tuple(sorted({round(widest * 0.8**step) for step in range(WIDTHS_TRIED)}, reverse=True))


def place(max_blocks: int, blocks_per_s: float, placed: Sequence[Placed], num_blocks: int) -> tuple[int, int]:
    """The range (start, stop) that a joining peer takes.

    Most blocks that nobody serves yet; then most blocks brought to MIN_REPLICAS; then the highest effective
    throughput; and of those within 1 % of that the range with most ends at other ranges' ends, the longest, the first.
    In an empty swarm that is as many blocks as it can take, from block 0.
    """
    newcomer = Placed("", 0, 1, max_blocks, blocks_per_s)
    counts, rates = replicas(placed, num_blocks), block_rates(placed, num_blocks)
    scale = fair_rate([newcomer, *placed], num_blocks)

    def score(start: int, stop: int) -> tuple[int, int, float]:
        after = rates.copy()
        after[start:stop] += newcomer.tokens_per_s_with(stop - start)
        taken = counts[start:stop]
        return int((taken == 0).sum()), int((taken == MIN_REPLICAS - 1).sum()), -float(penalties(after, scale).sum())

    widths = range(min(max_blocks, num_blocks), 0, -1)
    ranges = [(start, start + width) for width in widths for start in range(num_blocks - width + 1)]
    scores = {blocks: score(*blocks) for blocks in ranges}
    gaps, seconds, negative_penalty = max(scores.values())
    enough = negative_penalty / NEARLY ** (2**_SHARPNESS)
    ties = [blocks for blocks, found in scores.items() if found[:2] == (gaps, seconds) and found[2] >= enough]
    edges = {0, num_blocks} | {edge for peer in placed for edge in (peer.start, peer.stop)}
    return max(ties, key=lambda blocks: (len(edges & set(blocks)), blocks[1] - blocks[0], -blocks[0]))
