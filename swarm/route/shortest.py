"""The cheapest path of one request through the blocks, exactly: dynamic programming over blocks in order. Pure.

A path gives each block to a peer that serves it; consecutive blocks of one peer are one hop, so a hop may begin and end
anywhere in its peer's range. The state is (block, its peer); onwards, a request stays or moves to any peer that serves
the next block. That is a leg for every pair of peers at every block, so a backward pass comes first, in which a move
costs the least that any leg into its target does. Its optimum is a path that can be had, and what it says of each state
is a lower bound of all that is still to come from there. The exact pass forward then looks only at states from which
that path could yet be beaten: few, and often none, of thousands.
"""

from dataclasses import dataclass

import numpy as np

from swarm.route.network import Array, Problem

_EXACT = 1 - 1e-12  # what is not cheaper by more than rounding is not cheaper


@dataclass(frozen=True)
class Bounds:
    """From the backward pass."""

    to_go: Array  # [blocks + 1, n]: least cost of a block at a peer and all that follows; inf where it is not served
    enter: Array  # [blocks + 1]: least cost of moving anywhere at a block, and all that follows
    move_s: Array  # [n]: least cost of moving to a peer

    @classmethod
    def of(cls, problem: Problem) -> "Bounds":
        outside = problem.network.outside[problem.start : problem.stop]
        move_s = problem.enter_s + problem.least_leg_s()
        to_go = np.empty((len(outside) + 1, len(move_s)))
        to_go[-1] = problem.last_s  # after the last block, everybody is done
        enter = np.full(len(outside) + 1, np.inf)
        for block in range(len(outside) - 1, -1, -1):
            to_go[block] = np.minimum(to_go[block + 1], enter[block + 1])
            to_go[block] += problem.block_s
            to_go[block] += outside[block]
            enter[block] = (move_s + to_go[block]).min()
        return cls(to_go, enter, move_s)

    def path(self, problem: Problem) -> Array:
        """Owners of the blocks on the path that is cheapest by these costs; its true cost is another."""
        owner = int((problem.first_s + problem.enter_s + self.to_go[0]).argmin())
        owners = [owner]
        for block in range(1, len(self.to_go) - 1):
            if self.to_go[block, owner] > self.enter[block]:
                owner = int((self.move_s + self.to_go[block]).argmin())
            owners.append(owner)
        return np.array(owners)


def shortest(problem: Problem) -> tuple[Array, float]:
    """Owners of the blocks [stop - start] on the cheapest path, and its cost. Every block must be served by someone."""
    bounds = Bounds.of(problem)
    known = bounds.path(problem)
    limit = problem.cost_of(known)
    better = _forward(problem, bounds, limit * _EXACT)
    return (known, limit) if better is None else (better, problem.cost_of(better))


def _forward(problem: Problem, bounds: Bounds, limit: float) -> Array | None:
    """The cheapest path, if it costs less than `limit`."""
    blocks, peers = len(bounds.to_go) - 1, len(problem.enter_s)
    came_from = np.tile(np.arange(peers), (blocks, 1))
    cost = problem.first_s + problem.enter_s  # [n] of being at a peer, before its block is computed
    for block in range(blocks):
        if block:
            _move(problem, bounds, block, limit, cost, came_from[block])
        cost[cost + bounds.to_go[block] >= limit] = np.inf
        cost += problem.block_s
    cost += problem.last_s
    owner = int(cost.argmin())
    return None if cost[owner] >= limit else _backtrack(came_from, owner)


def _move(problem: Problem, bounds: Bounds, block: int, limit: float, cost: Array, came_from: Array) -> None:
    """Lower `cost` [n] where coming from another peer is cheaper than staying, and note from which."""
    sources = np.flatnonzero(cost < np.inf)
    if not len(sources):
        return
    least = cost[sources].min() + bounds.move_s
    targets = np.flatnonzero((least < cost) & (least + bounds.to_go[block] < limit))
    if not len(targets):
        return
    arrivals = cost[sources, None] + problem.legs(sources, targets)
    best = arrivals.argmin(0)
    moved = arrivals[best, np.arange(len(targets))] + problem.enter_s[targets]
    cheaper = moved < cost[targets]
    cost[targets[cheaper]] = moved[cheaper]
    came_from[targets[cheaper]] = sources[best[cheaper]]


def _backtrack(came_from: Array, owner: int) -> Array:
    owners = [owner]
    for row in came_from[:0:-1]:
        owner = int(row[owner])
        owners.append(owner)
    return np.array(owners[::-1])
