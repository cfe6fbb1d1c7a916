"""The best placements of a small swarm, whatever its present one. Pure.

Two searches help each other. Climbs from a fixed sample of placements, each by the best single moves, come close to
the best. Whether there is a better one is decided by an exact search, cut short where it would take too long:

Can every block get `goal` tokens/s? Take the first block that has less. One of the peers not placed yet must serve it,
and may as well begin there: the blocks before have enough, and shifting its range to the right, as far as the model
goes, only helps the blocks after. So a depth-first search over (peer, width) for the first lacking block is exact; of
several peers for the same block the faster go first, which loses nothing. A branch ends where the remaining peers
cannot supply what is lacking in total. The best goal is found by bisection, to 1 %.

It stops after a number of nodes, not after a time: all peers have to find the same.
"""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from swarm.route.placement.moves import Swarm, improving_single, moved
from swarm.route.placement.placed import (
    Placed,
    block_rates,
    place,
    replicas,
    sensible_widths,
    supply,
    throughput,
    throughput_bound,
)

MAX_NODES = 400  # of one exact search
CLIMBS = 16
PRECISION = 0.01  # of the best throughput
MAX_GOALS = 10  # tried in the bisection
NEAR_BEST = 0.98  # of the best throughput: placements that are as good
_SLACK = 1e-9  # relative: sums of rates in another order differ by less


@lru_cache(maxsize=16)
def best_placements(peers: Swarm, num_blocks: int) -> tuple[Swarm, ...]:
    """Where `peers` pass most tokens/s together, and other placements that are nearly as good; pinned ones stay.

    Where the others stand now does not matter; pass them through `displaced`, so that the cache knows them again.
    """
    found = [_climb(start, num_blocks) for start in _sample(peers, num_blocks)]
    low, high = max(throughput(swarm, num_blocks) for swarm in found), throughput_bound(peers, num_blocks)
    free, base = _free(peers), block_rates(_pinned(peers), num_blocks)
    for _ in range(MAX_GOALS):
        if low >= high * (1 - PRECISION):
            break
        goal = (low + high) / 2
        positions = _Search(free, goal, num_blocks).run(base)
        if positions is None:
            high = goal
        else:
            found.append(_complete(positions, peers, num_blocks))
            low = throughput(found[-1], num_blocks)
    return tuple(swarm for swarm in dict.fromkeys(found) if throughput(swarm, num_blocks) >= low * NEAR_BEST)


def _sample(peers: Swarm, num_blocks: int) -> list[Swarm]:
    """Placements to climb from: one joining after the other, and random ones, always the same."""
    placements = [_complete([], peers, num_blocks)]
    for seed in range(1, CLIMBS):
        draw = random.Random(seed)
        placements.append(tuple(peer if peer.pinned else _anywhere(peer, num_blocks, draw) for peer in peers))
    return placements


def _anywhere(peer: Placed, num_blocks: int, draw: random.Random) -> Placed:
    width = 1 + int(draw.random() * min(peer.max_blocks, num_blocks))
    start = int(draw.random() * (num_blocks - width + 1))
    return peer.at(start, start + width)


def _climb(swarm: Swarm, num_blocks: int) -> Swarm:
    """`swarm` after best single moves until none helps."""
    while (peer := improving_single(swarm, num_blocks)) is not None:
        swarm = moved(swarm, peer)
    return swarm


def covering_placement(peers: Sequence[Placed], num_blocks: int) -> Swarm | None:
    """`peers` so that every block has one; those that are pinned stay. None: not found."""
    covered = np.minimum(replicas(_pinned(peers), num_blocks), 1).astype(float)
    free = [replace(peer, blocks_per_s=peer.max_blocks, network_tokens_per_s=math.inf) for peer in _free(peers)]
    positions = _Search(free, 1.0, num_blocks).run(covered)
    return None if positions is None else _complete(positions, tuple(peers), num_blocks)


def displaced(peers: Sequence[Placed]) -> Swarm:
    """`peers` in a fixed order without the positions of those that may move."""
    return tuple(sorted((p if p.pinned else p.at(0, 1) for p in peers), key=lambda peer: peer.peer_id))


def _pinned(peers: Sequence[Placed]) -> list[Placed]:
    return [peer for peer in peers if peer.pinned]


def _free(peers: Sequence[Placed]) -> list[Placed]:
    return [peer for peer in peers if not peer.pinned]


def _complete(positions: list[Placed], peers: Swarm, num_blocks: int) -> Swarm:
    """The whole swarm: peers where a search placed them, and those that it did not need where newcomers would go."""
    at = {peer.peer_id: (peer.start, peer.stop) for peer in positions}
    swarm = [*_pinned(peers), *(peer.at(*at[peer.peer_id]) for peer in peers if peer.peer_id in at)]
    rest = [peer for peer in _free(peers) if peer.peer_id not in at]
    for peer in sorted(rest, key=lambda peer: (-peer.max_blocks, -peer.blocks_per_s, peer.peer_id)):
        swarm.append(peer.at(*place(peer.max_blocks, peer.blocks_per_s, swarm, num_blocks)))
    return tuple(sorted(swarm, key=lambda peer: peer.peer_id))


class _Search:
    """Depth first, for a placement of `peers` that gives every block `goal` tokens/s."""

    def __init__(self, peers: list[Placed], goal: float, num_blocks: int) -> None:
        self._goal, self._num_blocks = goal, num_blocks
        self._nodes = 0
        self._failed: set[tuple[object, ...]] = set()
        kinds = defaultdict(list)  # equal peers are tried once
        for peer in peers:
            kinds[peer.max_blocks, peer.blocks_per_s, peer.network_tokens_per_s].append(peer)
        self._members = list(kinds.values())
        self._supplies = np.array([supply([first], goal) for first, *_ in self._members])
        options = [  # what a peer of each kind may serve, the fastest first
            (-first.tokens_per_s_with(width), kind, width)
            for kind, (first, *_) in enumerate(self._members)
            for width in sensible_widths(first.max_blocks, num_blocks)
        ]
        speeds, self._kinds, self._widths = (np.array(column) for column in zip(*sorted(options), strict=True))
        self._speeds = -speeds

    def run(self, rates: np.ndarray) -> list[Placed] | None:
        """The peers that it needs, placed; `rates` are what blocks have without them. None: not found."""
        return self._from(rates, tuple(len(of) for of in self._members), -1, 0)

    def _from(self, rates: np.ndarray, left: tuple[int, ...], block: int, first: int) -> list[Placed] | None:
        """left: peers of each kind; for `block` only options from `first` on are open."""
        lacking = np.flatnonzero(rates < self._goal * (1 - _SLACK))
        if not lacking.size:
            return []
        first = first if lacking[0] == block else 0
        state = (left, first, (rates / self._goal).round(9).tobytes())
        if self._nodes >= MAX_NODES or state in self._failed:
            return None
        self._nodes += 1
        for option, after in self._children(rates, left, int(lacking[0]), first):
            kind, width = int(self._kinds[option]), int(self._widths[option])
            fewer = (*left[:kind], left[kind] - 1, *left[kind + 1 :])
            rest = self._from(after, fewer, int(lacking[0]), option)
            if rest is not None:
                start = min(int(lacking[0]), self._num_blocks - width)
                return [self._members[kind][fewer[kind]].at(start, start + width), *rest]
        self._failed.add(state)
        return None

    def _children(
        self, rates: np.ndarray, left: tuple[int, ...], block: int, first: int
    ) -> list[tuple[int, np.ndarray]]:
        """Options that leave enough supply for the rest, least wasteful first, with the rates after each."""
        counts = np.array(left)
        options = first + np.flatnonzero(counts[self._kinds[first:]])
        widths, kinds = self._widths[options], self._kinds[options]
        starts = np.minimum(block, self._num_blocks - widths)[:, None]
        blocks = np.arange(self._num_blocks)
        served = (blocks >= starts) & (blocks < starts + widths[:, None])
        after = rates + served * self._speeds[options][:, None]
        lacking = np.maximum(self._goal - after, 0).sum(1)
        spare = counts @ self._supplies - self._supplies[kinds] - lacking
        order = np.lexsort((-widths, -(spare / self._goal).round(9)))
        return [(int(options[i]), after[i]) for i in order if spare[i] >= -_SLACK * self._goal * self._num_blocks]
