"""The cheapest path of one request through the blocks, exactly: dynamic programming over blocks in order. Pure.

A path gives each block to a peer that serves it; consecutive blocks of one peer are one hop, so a hop may begin and end
anywhere in its peer's range. The state is (block, its peer); onwards, a request stays or moves to any peer that serves
the next block. That is a leg for every pair of peers at every block, so a backward pass comes first, in which a move
costs the least that any leg into its target does from peers about as far from the client. What it says of a state is a
lower bound of all that is still to come from there; the path that it would choose can be had, at a cost that is known.
The exact pass forward then looks only at states from which that path, or a guess below it, could yet be beaten: few of
thousands.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from swarm.route.search.network import Array, Problem

_GROUPS = 32  # more make the bound tighter and dearer; this many made the whole search fastest
_LIMIT_STEP = 1.1  # by which a guess of the optimum is raised
_EXACT = 1 - 1e-12  # what is not cheaper by more than rounding is not cheaper


@dataclass(frozen=True)
class Moves:
    """What moving between peers costs, as far as it depends on the group of the peer that is left."""

    group: Array  # [n]: of each peer
    cost: Array  # [groups, n]: of moving to a peer

    @classmethod
    def least(cls, problem: Problem) -> "Moves":
        """No more than any move costs. Peers at about the same distance from the client form a group."""
        peers = len(problem.far_s)
        group = np.empty(peers, dtype=np.intp)
        group[np.argsort(problem.far_s, kind="stable")] = np.arange(peers) * min(_GROUPS, peers) // max(peers, 1)
        return cls(group, problem.least_legs(group) + problem.enter_s)

    def arrive(self, peer: Array, cost: Array) -> Array:
        """[n]: the cheapest arrival at each peer from those in `peer`, each reached at `cost`."""
        least = np.full(len(self.cost), np.inf)
        np.minimum.at(least, self.group[peer], cost)
        from_group = np.flatnonzero(least < np.inf)
        arrivals: Array = (least[from_group, None] + self.cost[from_group]).min(0)
        return arrivals


@dataclass(frozen=True)
class Outlook:
    """What is still to come from each state, at such moves: the backward pass."""

    moves: Moves
    to_go: Array  # [blocks + 1, n]: cost of a block at a peer and all that follows; inf where the peer lacks the block
    leave: Array  # [blocks + 1, groups]: cost of moving anywhere before a block, and all that follows

    @classmethod
    def of(cls, problem: Problem, moves: Moves) -> "Outlook":
        outside = problem.network.outside[problem.start : problem.stop]
        to_go = np.empty((len(outside) + 1, len(moves.group)))
        to_go[-1] = problem.last_s  # after the last block everybody is done
        leave = np.full((len(outside) + 1, len(moves.cost)), np.inf)
        for block in range(len(outside) - 1, -1, -1):
            np.minimum(to_go[block + 1], leave[block + 1][moves.group], out=to_go[block])
            to_go[block] += problem.block_s
            to_go[block] += outside[block]
            leave[block] = (moves.cost + to_go[block]).min(1)
        return cls(moves, to_go, leave)

    def start(self, problem: Problem) -> Array:
        """[n]: cost of all paths that begin at a peer, at such moves."""
        cost: Array = problem.first_s + problem.enter_s + self.to_go[0]
        return cost

    def path(self, problem: Problem) -> Array:
        """Owners of the blocks on the path that is cheapest at such moves; what it really costs is another matter."""
        owner = int(self.start(problem).argmin())
        owners = [owner]
        for block in range(1, len(self.to_go) - 1):
            group = self.moves.group[owner]
            if self.to_go[block, owner] > self.leave[block, group]:
                owner = int((self.moves.cost[group] + self.to_go[block]).argmin())
            owners.append(owner)
        return np.array(owners)


def shortest(problem: Problem) -> tuple[Array, float]:
    """Owners of the blocks [stop - start] on the cheapest path, and its cost. Every block must be served by someone."""
    outlook = Outlook.of(problem, Moves.least(problem))
    known = outlook.path(problem)
    for limit in _limits(float(outlook.start(problem).min()), problem.cost_of(known)):
        if (better := _forward(problem, outlook, limit * _EXACT)) is not None:
            return better, problem.cost_of(better)
    return known, problem.cost_of(known)


def _limits(least: float, known: float) -> Iterator[float]:
    """Guesses of the optimum, which lies between the two, upwards: the lower the limit, the fewer states are looked at,
    and what is found below a limit is the optimum."""
    limit = least * _LIMIT_STEP
    while 0 < limit < known:
        yield limit
        limit *= _LIMIT_STEP
    yield known


def _forward(problem: Problem, outlook: Outlook, limit: float) -> Array | None:
    """The cheapest path, if it costs less than `limit`."""
    blocks, peers = len(outlook.to_go) - 1, len(problem.enter_s)
    came_from = np.tile(np.arange(peers), (blocks, 1))
    cost = problem.first_s + problem.enter_s  # [n] of being at a peer, before its block is computed
    for block in range(blocks):
        if block:
            _move(problem, outlook, block, limit, cost, came_from[block])
        cost[cost + outlook.to_go[block] >= limit] = np.inf
        cost += problem.block_s
    cost += problem.last_s
    owner = int(cost.argmin())
    return None if cost[owner] >= limit else _backtrack(came_from, owner)


def _move(problem: Problem, outlook: Outlook, block: int, limit: float, cost: Array, came_from: Array) -> None:
    """Lower `cost` [n] where coming from another peer is cheaper than staying, and note from which."""
    sources = np.flatnonzero(cost < np.inf)
    if not len(sources):
        return
    least = outlook.moves.arrive(sources, cost[sources])
    targets = np.flatnonzero((least < cost) & (least + outlook.to_go[block] < limit))
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
