"""Ways to choose a chain, for comparison in the simulation: this library's own, and two that it is to beat."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.simulate.clients import View
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop, Request, cost_chain, uncovered
from swarm.route.search.chains import SLACK, best_chains
from swarm.route.search.network import Network


@dataclass(frozen=True)
class Balanced:
    """Of two of the cheapest chains, drawn at random, that which is cheaper by fresh load; which the client remembers.

    Two choices at random keep clients with the same old records from all going the same way: M. Mitzenmacher, "How
    useful is old information?", IEEE Transactions on Parallel and Distributed Systems 11 (2000). Remembering what
    peers answered, until they announce anew, keeps one client from sending all its own requests the same way.
    """

    count: int = 2  # chains to draw the two from
    slack: float = SLACK

    def __call__(self, view: View, request: Request) -> Sequence[Hop]:
        network = view.network
        chains = best_chains(network, network.num_blocks, request, self.count, self.slack)
        two = view.rng.sample(chains, min(2, len(chains)))
        fresh = view.fresh({hop.peer.peer_id: None for chain in two for hop in chain.hops})
        network.update(fresh.values())
        alive = [chain for chain in two if all(hop.peer.peer_id in fresh for hop in chain.hops)]
        return min(alive or two, key=lambda chain: cost_chain(chain.hops, network.by_id, request).seconds).hops


def fewest(view: View, request: Request) -> Sequence[Hop]:
    """Any of the chains with the fewest hops."""
    start, stop = request.start, request.stop
    by_id = view.network.by_id
    clipped = [
        replace(one.peer, start=max(one.peer.start - start, 0), stop=min(one.peer.stop, stop) - start)
        for one in view.network.candidates
        if one.peer.start < stop and one.peer.stop > start
    ]
    hops = fewest_hops(clipped, stop - start, view.rng)
    return [Hop(by_id[hop.peer.peer_id].peer, hop.start + start, hop.stop + start) for hop in hops]


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
            raise uncovered(peers, num_blocks)
        candidates = [peer for peer in peers if peer.start <= block and peer.stop == furthest]
        chain.append(Hop(rng.choice(candidates), block, min(furthest, num_blocks)))
        block = furthest
    return chain


OVERHEAD_S = 0.018  # what Petals counts for each hop
UNKNOWN_S = 0.15  # and for a link that was not measured, one way
NO_ROOM_S = 10.0


def petals(view: View, request: Request) -> Sequence[Hop]:
    """The chain of the least latency as Petals 2.3 reckons it, in sequence_manager.py of its client: half a round trip
    and 18 ms for each hop, the inverse of a peer's throughput for each block, 10 s for a peer without room; no queue,
    no bandwidth. A peer is left only at the end of its range.
    """
    network, start, stop = view.network, request.start, request.stop
    if not network.serves[start:stop].any(1).all():
        raise uncovered([one.peer for one in network.candidates], network.num_blocks, start, stop)
    return _Petals(network, request).search()


class _Petals:
    """Dijkstra's search on Petals' graph, whose nodes are in the order of blocks already."""

    def __init__(self, network: Network, request: Request):
        self._network, self._request = network, request
        peers = network.candidates
        self._stop = np.array([min(one.peer.stop, request.stop) for one in peers])
        self._block_s = np.array([one.peer.costs.decode_s[0] for one in peers])
        self._enter_s = OVERHEAD_S + np.where([one.peer.load.free_pages > 0 for one in peers], 0.0, NO_ROOM_S)
        self._cost = np.full(len(peers), np.inf)  # when a peer's range has been passed
        self._entered = np.full((len(peers), 2), -1)  # the best way there: entered before which block, from whom

    def search(self) -> list[Hop]:
        request, client_s = self._request, self._network.round_trip_s / 2
        self._enter(request.start, np.array([-1]), client_s[None])
        for block in range(request.start + 1, request.stop):
            sources = np.flatnonzero((self._stop == block) & (self._cost < np.inf))
            if len(sources):
                self._enter(block, sources, self._cost[sources, None] + self._links_s(sources))
        ends = np.where(self._stop == request.stop, self._cost + client_s, np.inf)
        return self._hops(int(ends.argmin()))

    def _enter(self, block: int, sources: np.ndarray, arrivals: np.ndarray) -> None:
        """arrivals: [sources, n]"""
        best = arrivals.argmin(0)
        cost = arrivals[best, np.arange(len(best))] + self._enter_s + (self._stop - block) * self._block_s
        better = self._network.serves[block] & (cost < self._cost)
        self._cost[better] = cost[better]
        self._entered[better, 0] = block
        self._entered[better, 1] = sources[best[better]]

    def _links_s(self, sources: np.ndarray) -> np.ndarray:
        """[sources, n]: one way, as far as the first of the two has measured it."""
        seconds = np.full((len(sources), len(self._stop) + 1), UNKNOWN_S)
        rows = np.arange(len(sources))[:, None]
        seconds[rows, self._network.neighbour[sources]] = self._network.neighbour_round_trip_s[sources] / 2
        return seconds[:, :-1]

    def _hops(self, owner: int) -> list[Hop]:
        hops: list[Hop] = []
        while owner >= 0:
            block, source = self._entered[owner].tolist()
            hops.insert(0, Hop(self._network.candidates[owner].peer, block, int(self._stop[owner])))
            owner = source
        return hops
