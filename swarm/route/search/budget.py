"""The cheapest path whose price stays within a limit. Pure.

A shortest path under a resource constraint, as in Handler and Zang, "A dual algorithm for the constrained shortest path
problem", Networks 10 (1980): first Lagrange multipliers, that is, searches in which price is exchanged for seconds at a
rate that is moved until no better one is left; then, for what remains between the best path found and the bound that
these searches prove, a search whose labels are the Pareto-optimal pairs (seconds, price) at each (block, peer).
"""

from dataclasses import dataclass

import numpy as np

from swarm.route.search.network import Array, Problem
from swarm.route.search.shortest import Moves, Outlook, shortest

MAX_LABELS = 1024  # at one block; above it the least promising are dropped, and the result may miss the optimum
MAX_RATES = 20
ROUNDING = 1e-9  # relative: a price that exceeds its limit by so little does not


def least_prices(problem: Problem) -> Array:
    """[blocks + 1]: the least price of all blocks from one on. Moving between peers has no price."""
    outside = problem.network.outside[problem.start : problem.stop]
    cheapest = (outside + problem.price).min(1)
    return np.append(np.cumsum(cheapest[::-1])[::-1], 0.0)


def shortest_within(problem: Problem, max_price: float) -> Array:
    """Owners of the blocks on the cheapest path whose price is at most `max_price`, which least_prices must allow."""
    fastest, _ = shortest(problem)
    max_price *= 1 + ROUNDING
    if problem.price[fastest].sum() <= max_price:
        return fastest
    known, rate = _relaxed(problem, max_price, fastest)
    found = _Labels(problem, max_price, rate, problem.cost_of(known)).search()
    return known if found is None else found


def _relaxed(problem: Problem, max_price: float, dear: Array) -> tuple[Array, float]:
    """The best affordable path among those that are optimal at some rate of seconds per price, and the best rate."""
    cheap = _cheapest(problem)
    rate = 0.0
    for _ in range(MAX_RATES):
        gained_s = problem.cost_of(cheap) - problem.cost_of(dear)
        saved = problem.price[dear].sum() - problem.price[cheap].sum()
        if gained_s <= 0 or saved <= 0:
            break
        rate = gained_s / saved
        between, cost = shortest(problem.priced(rate))
        if cost >= (problem.cost_of(cheap) + rate * problem.price[cheap].sum()) * (1 - ROUNDING):
            break
        if problem.price[between].sum() <= max_price:
            cheap = between
        else:
            dear = between
    return cheap, rate


def _cheapest(problem: Problem) -> Array:
    """A path of the least price, leaving a peer only where it must."""
    cost = problem.network.outside[problem.start : problem.stop] + problem.price  # [blocks, n]
    least = cost <= cost.min(1, keepdims=True)
    owners: list[int] = []
    for block, fits in enumerate(least):
        if not owners or not fits[owners[-1]]:
            reach = np.where(least[block:].all(0), len(least), least[block:].argmin(0))
            owners.append(int(np.where(fits, reach, -1).argmax()))
        else:
            owners.append(owners[-1])
    return np.array(owners)


@dataclass
class _Layer:
    """The labels before one block is computed."""

    peer: Array
    seconds: Array
    price: Array
    parent: Array  # their places among the labels of the block before

    def keep(self, which: Array) -> "_Layer":
        return _Layer(self.peer[which], self.seconds[which], self.price[which], self.parent[which])


class _Labels:
    """A label-setting search for a path cheaper than `limit_s` whose price is at most `max_price`."""

    def __init__(self, problem: Problem, max_price: float, rate: float, limit_s: float):
        """rate: seconds per price; the bound at the right one leaves the fewest labels."""
        self._problem, self._max_price, self._rate = problem, max_price, rate
        self._limit_s = limit_s * (1 - ROUNDING)
        moves = Moves.least(problem)
        self._plain, self._priced = Outlook.of(problem, moves), Outlook.of(problem.priced(rate), moves)
        self._least_price = least_prices(problem)

    def search(self) -> Array | None:
        problem = self._problem
        peers = np.arange(len(problem.enter_s))
        start = _Layer(peers, problem.first_s + problem.enter_s, np.zeros(len(peers)), peers)
        layers = [start.keep(self._promising(0, start.peer, start.seconds, start.price))]
        for block in range(1, problem.stop - problem.start):
            layers.append(self._next(block, layers[-1]))
        last = layers[-1]
        if not len(last.peer):
            return None
        total = last.seconds + problem.block_s[last.peer] + problem.last_s[last.peer]
        return _backtrack(layers, int(total.argmin()))

    def _next(self, block: int, layer: _Layer) -> _Layer:
        problem = self._problem
        seconds = layer.seconds + problem.block_s[layer.peer]
        price = layer.price + problem.price[layer.peer]
        stay = _Layer(layer.peer, seconds, price, np.arange(len(seconds)))
        stay = stay.keep(self._promising(block, stay.peer, seconds, price))
        moved = self._moves(block, layer.peer, seconds, price)
        fields = ("peer", "seconds", "price", "parent")
        both = _Layer(*(np.concatenate([getattr(stay, name), getattr(moved, name)]) for name in fields))
        return self._few(block, both.keep(_pareto(both)))

    def _moves(self, block: int, peer: Array, seconds: Array, price: Array) -> _Layer:
        problem = self._problem
        targets = self._targets(block, peer, seconds, price)
        sources, place = np.unique(peer, return_inverse=True)
        arrivals = problem.legs(sources, targets)[place] + seconds[:, None] + problem.enter_s[targets]
        fits = self._promising(block, targets[None, :], arrivals, price[:, None])
        row, column = np.nonzero(fits & (peer[:, None] != targets))
        return _Layer(targets[column], arrivals[row, column], price[row], row)

    def _targets(self, block: int, peer: Array, seconds: Array, price: Array) -> Array:
        """Peers that some label could move to and still be promising."""
        peers = np.arange(len(self._problem.enter_s))
        if not len(seconds):
            return peers[:0]
        least, moves = price.min(), self._plain.moves
        moved = self._promising(block, peers, moves.arrive(peer, seconds), least)
        worth = moves.arrive(peer, seconds + self._rate * (price - least))
        return np.flatnonzero(moved & (self._exchanged(block, peers, worth, least) < self._limit_s))

    def _promising(self, block: int, peer: Array, seconds: Array, price: Array) -> Array:
        """Whether a path through these labels might be affordable and cheaper than the one known."""
        affordable = price + self._problem.price[peer] + self._least_price[block + 1] <= self._max_price
        bound = seconds + self._plain.to_go[block, peer] < self._limit_s
        promising: Array = affordable & bound & (self._exchanged(block, peer, seconds, price) < self._limit_s)
        return promising

    def _exchanged(self, block: int, peer: Array, seconds: Array, price: Array) -> Array:
        """Lower bound of the seconds of an affordable path, by what its price is worth."""
        bound: Array = seconds + self._rate * (price - self._max_price) + self._priced.to_go[block, peer]
        return bound

    def _few(self, block: int, layer: _Layer) -> _Layer:
        if len(layer.peer) <= MAX_LABELS:
            return layer
        bound = self._exchanged(block, layer.peer, layer.seconds, layer.price)
        return layer.keep(np.sort(np.argpartition(bound, MAX_LABELS)[:MAX_LABELS]))


def _pareto(layer: _Layer) -> Array:
    """Places of the labels that no other label of the same peer beats in both seconds and price."""
    order = np.lexsort((layer.price, layer.seconds, layer.peer))
    peer = layer.peer[order]
    rank = np.unique(layer.price[order], return_inverse=True)[1]
    group = np.cumsum(np.append(0, peer[1:] != peer[:-1])) if len(peer) else peer
    key = rank - group * (len(peer) + 1)  # falls from peer to peer, so that one running minimum serves all
    lowest = np.minimum.accumulate(key)
    first = np.append(True, lowest[1:] < lowest[:-1])[: len(peer)]
    places: Array = order[first]
    return places


def _backtrack(layers: list[_Layer], place: int) -> Array:
    owners = []
    for layer in reversed(layers):
        owners.append(int(layer.peer[place]))
        place = int(layer.parent[place])
    return np.array(owners[::-1])
