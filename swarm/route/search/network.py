"""A picture of the swarm in arrays, made once, and the costs that one request meets in it. Pure.

All arrays over peers are in the order of the candidates; n is their number.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from swarm.route.route import Candidate, Chain, Hop, Request, cost_chain, link_between

Array = np.ndarray
_FIGURES = ("decode_s", "prefill_s", "queue_s", "hazard_per_s")
_PRICES = ("price", "idle_price")


class Network:
    """Candidates, and the links between them, ready to be searched for any number of requests."""

    decode_s: Array  # [n], as the others: of the candidates
    prefill_s: Array
    queue_s: Array
    hazard_per_s: Array
    price: Array  # [n, 2]: prefill, decode
    idle_price: Array

    def __init__(self, candidates: Sequence[Candidate], num_blocks: int):
        """candidates: one for each peer."""
        self.candidates = list(candidates)
        self.num_blocks = num_blocks
        self.by_id = {candidate.peer.peer_id: candidate for candidate in candidates}
        self._index = {peer_id: index for index, peer_id in enumerate(self.by_id)}
        if len(self.by_id) != len(self.candidates):
            raise ValueError("a peer that is a candidate twice")
        ranges = np.array([candidate.peer.blocks for candidate in candidates]).reshape(-1, 2)
        block = np.arange(num_blocks)[:, None]
        self.serves = (ranges[:, 0] <= block) & (block < ranges[:, 1])  # [num_blocks, n]
        self.outside = np.where(self.serves, 0.0, np.inf)  # the same, as what it costs: nothing, or too much
        for name in _FIGURES:
            setattr(self, name, np.array([getattr(candidate, name) for candidate in candidates], dtype=np.float64))
        for name in _PRICES:
            prices = [getattr(candidate, name) for candidate in candidates]
            setattr(self, name, np.array(prices, dtype=np.float64).reshape(-1, 2))
        self.round_trip_s = np.array([candidate.client.round_trip_s for candidate in candidates])
        self.byte_s = np.array([1 / candidate.client.bytes_per_s for candidate in candidates])
        self._measure()

    def update(self, fresh: Iterable[Candidate]) -> None:
        """Take over the load, speed, price and hazard of some of the candidates, as they are known better by now. Their
        blocks and links stay."""
        for candidate in fresh:
            index = self._index[candidate.peer.peer_id]
            self.candidates[index] = self.by_id[candidate.peer.peer_id] = candidate
            for name in (*_FIGURES, *_PRICES):
                getattr(self, name)[index] = getattr(candidate, name)

    def _measure(self) -> None:
        """Who measured a link to whom: a row for each peer, as long as the longest, filled up with n."""
        size, index = len(self.candidates), self._index
        rows = [
            [
                (index[peer_id], link.round_trip_s, 1 / link.bytes_per_s)
                for peer_id, link in one.links.items()
                if peer_id in index
            ]
            for one in self.candidates
        ]
        degree = np.array([len(row) for row in rows], dtype=np.intp)
        table = np.array([entry for row in rows for entry in row]).reshape(-1, 3)
        left, right = np.repeat(np.arange(size), degree), table[:, 0].astype(np.intp)
        slot = np.arange(len(left)) - np.repeat(np.cumsum(degree) - degree, degree)
        shape = size, degree.max(initial=0)
        self.neighbour = np.full(shape, size)
        self.neighbour_round_trip_s, self.neighbour_byte_s = np.zeros(shape), np.zeros(shape)
        self.neighbour[left, slot] = right
        self.neighbour_round_trip_s[left, slot] = _worse_of_both(left, right, size, table[:, 1])
        self.neighbour_byte_s[left, slot] = _worse_of_both(left, right, size, table[:, 2])

    def hops(self, owners: Sequence[int], start: int) -> list[Hop]:
        """owners: the peers, by index, of blocks from `start` on; consecutive blocks of one peer are one hop."""
        edges = [0, *(place for place in range(1, len(owners)) if owners[place] != owners[place - 1]), len(owners)]
        return [
            Hop(self.candidates[owners[left]].peer, start + left, start + right)
            for left, right in itertools.pairwise(edges)
        ]

    def chain(self, owners: Sequence[int], request: Request) -> Chain:
        return cost_chain(self.hops(owners, request.start), self.by_id, request)


@dataclass(frozen=True)
class Problem:
    """The additive costs of one request, in seconds: what route.cost_chain sums, taken apart."""

    network: Network
    start: int
    stop: int
    block_s: Array  # [n] one block
    enter_s: Array  # [n] each hop, apart from its legs
    first_s: Array  # [n] the leg into the first hop
    last_s: Array  # [n] the leg out of the last
    price: Array  # [n] one block, the whole request
    far_s: Array  # [n] what the round trip to the client makes of a leg
    bytes_s: Array  # [n] what its bandwidth does
    measured_s: Array  # [n, degree] the legs that were measured
    weight: Array  # [n] factor by which a peer, and the leg into it, look dearer than they are

    @classmethod
    def of(cls, network: Network, request: Request) -> "Problem":
        new, crossings = request.new_tokens, (request.new_tokens + 1) / 2  # of a round trip
        nbytes = request.tokens * request.token_bytes
        far_s, bytes_s = network.round_trip_s * crossings, network.byte_s * nbytes
        prices = network.idle_price if request.background else network.price
        price = prices @ np.array([request.prompt_tokens, new], dtype=np.float64)
        losses = new * request.token_s * request.recovery_s * network.hazard_per_s
        problem = cls(
            network=network,
            start=request.start,
            stop=network.num_blocks if request.stop is None else request.stop,
            block_s=new * network.decode_s
            + request.prompt_tokens * network.prefill_s
            + request.seconds_per_price * price,
            enter_s=new * network.queue_s + losses,
            first_s=far_s + bytes_s,
            last_s=far_s + network.byte_s * ((new + 1) * request.token_bytes),
            price=price,
            far_s=far_s,
            bytes_s=bytes_s,
            measured_s=network.neighbour_round_trip_s * crossings + network.neighbour_byte_s * nbytes,
            weight=np.ones(len(network.candidates)),
        )
        if request.before is not None:
            problem = replace(problem, first_s=_legs_of(request.before, network, crossings, nbytes))
        if request.after is not None:
            problem = replace(problem, last_s=_legs_of(request.after, network, crossings, nbytes))
        return problem

    def priced(self, seconds_per_price: float) -> "Problem":
        """The same, where a unit of price costs so many seconds more."""
        return replace(self, block_s=self.block_s + seconds_per_price * self.price)

    def weighted(self, factors: Array) -> "Problem":
        """The same, where peers and the legs at them cost `factors` [n] times as much."""
        return replace(
            self,
            block_s=self.block_s * factors,
            enter_s=self.enter_s * factors,
            first_s=self.first_s * factors,
            last_s=self.last_s * factors,
            weight=self.weight * factors,
        )

    def legs(self, sources: Array, targets: Array) -> Array:
        """[sources, targets]: seconds of a leg between two peers, as route.link_between knows the link."""
        cost: Array = np.maximum.outer(self.far_s[sources], self.far_s[targets])
        cost += np.maximum.outer(self.bytes_s[sources], self.bytes_s[targets])
        row, column, seconds = self._measured(sources, targets)
        cost[row, column] = seconds
        row, column, seconds = self._measured(targets, sources)
        cost[column, row] = seconds
        cost *= self.weight[targets]
        return cost

    def _measured(self, owners: Array, others: Array) -> tuple[Array, Array, Array]:
        """Places in `owners` and in `others` of the pairs whose first has measured the link, and its cost."""
        place = np.full(len(self.network.candidates) + 1, -1)
        place[others] = np.arange(len(others))
        place = place[self.network.neighbour[owners]]
        row, slot = np.nonzero(place >= 0)
        return row, place[row, slot], self.measured_s[owners[row], slot]

    def least_legs(self, group: Array) -> Array:
        """[groups, n]: no leg into a peer from one of a group costs less than this. group [n]: of each peer, from 0,
        none of them empty."""
        far_s, bytes_s = np.full((2, group.max() + 1), np.inf)
        np.minimum.at(far_s, group, self.far_s)
        np.minimum.at(bytes_s, group, self.bytes_s)
        least: Array = np.maximum.outer(far_s, self.far_s) + np.maximum.outer(bytes_s, self.bytes_s)
        row, slot = np.nonzero(self.network.neighbour < len(group))
        other, seconds = self.network.neighbour[row, slot], self.measured_s[row, slot]
        np.minimum.at(least, (group[row], other), seconds)
        np.minimum.at(least, (group[other], row), seconds)
        least *= self.weight
        return least

    def cost_of(self, owners: Array) -> float:
        """owners: the peer of each block, [stop - start]."""
        hops = owners[np.append(True, owners[1:] != owners[:-1])]
        legs = np.diagonal(self.legs(hops[:-1], hops[1:]))
        work = self.block_s[owners].sum() + self.enter_s[hops].sum()
        return float(self.first_s[hops[0]] + work + legs.sum() + self.last_s[hops[-1]])


def _legs_of(end: Candidate, network: Network, crossings: float, nbytes: float) -> Array:
    """[n]: the leg between each peer and one that may be none of them."""
    links = [link_between(end, candidate) for candidate in network.candidates]
    return np.array([link.round_trip_s * crossings + nbytes / link.bytes_per_s for link in links])


def _worse_of_both(left: Array, right: Array, size: int, figure: Array) -> Array:
    """figure [links], of left[i] to right[i]; where it is also known of right[i] to left[i], the larger of the two."""
    key, reverse = left * size + right, right * size + left
    order = np.argsort(key)
    place = np.searchsorted(key, reverse, sorter=order)
    other = order[np.minimum(place, len(order) - 1)] if len(order) else order
    return np.where(key[other] == reverse, np.maximum(figure, figure[other]), figure)
