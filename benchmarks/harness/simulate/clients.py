"""What clients of a simulated swarm know: announced records, old by the time they are read, and own measurements."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.simulate.peers import Place, SimulatedPeer, link
from swarm.route.costs import Link
from swarm.route.peer import PeerInfo
from swarm.route.route import Candidate, Hop, Request
from swarm.route.search.network import Network
from swarm.wire import messages_pb2 as pb

ANNOUNCE_S = 10.0  # how often a peer refreshes its record
RECORD_LIFE_S = 30.0
REFRESH_S = 5.0  # how old a client's picture of the swarm may be when a request begins
PRIOR_LIFE_S = 600.0  # a peer that has just begun is expected to stay so long


@dataclass(frozen=True)
class View:
    """All that a policy sees."""

    network: Network
    rng: random.Random
    fresh: Callable[[Iterable[str]], Mapping[str, Candidate]]  # asks peers for their load: a round trip to each


Policy = Callable[[View, Request], Sequence[Hop]]


class Knowledge:
    """Of all clients. Those at one site share what they know."""

    def __init__(self, sites: Sequence[Place], num_blocks: int, noise: float, rng: random.Random):
        """noise: standard deviation of the logarithm of what a client measures of a link."""
        self._sites, self._num_blocks, self._noise, self._rng = sites, num_blocks, noise, rng
        self._records: dict[str, tuple[float, SimulatedPeer, PeerInfo]] = {}  # when announced
        self._pictures: dict[int, tuple[float, Network]] = {}
        self._links: dict[tuple[int, str], Link] = {}
        self._avoid_until_s: dict[tuple[int, str], float] = {}

    def announce(self, peer: SimulatedPeer, now_s: float) -> None:
        self._records[peer.peer_id] = now_s, peer, _announced(peer)

    def avoid(self, site: int, peer_id: str, until_s: float) -> None:
        """The clients of `site` know of a failure or a refusal."""
        self._avoid_until_s[site, peer_id] = until_s
        self._pictures.pop(site, None)

    def network(self, site: int, now_s: float) -> Network:
        """The picture that the clients of `site` have."""
        made_s, network = self._pictures.get(site, (-REFRESH_S, None))
        if network is None or now_s - made_s >= REFRESH_S:
            network = Network(self._candidates(site, now_s), self._num_blocks)
            self._pictures[site] = now_s, network
        return network

    def candidate(self, site: int, peer: SimulatedPeer, now_s: float, info: PeerInfo | None = None) -> Candidate:
        """info: as its record says; by default as the peer itself would say now."""
        info = info or _announced(peer)
        return Candidate(
            peer=info,
            decode_s=info.costs.decode_block_s(info.load.decoding + 1),
            prefill_s=info.costs.prefill_block_s(),
            queue_s=info.costs.queue_s,
            client=self._measured(site, peer),
            links=info.costs.links,
            price=info.asks.price,
            idle_price=info.asks.idle_price,
            hazard_per_s=1 / (PRIOR_LIFE_S + now_s - peer.born_s),
        )

    def _candidates(self, site: int, now_s: float) -> list[Candidate]:
        for peer_id in [key for key, (at_s, _, _) in self._records.items() if now_s - at_s > RECORD_LIFE_S]:
            del self._records[peer_id]
        return [
            self.candidate(site, peer, now_s, info)
            for peer_id, (_, peer, info) in self._records.items()
            if self._avoid_until_s.get((site, peer_id), 0.0) <= now_s
        ]

    def _measured(self, site: int, peer: SimulatedPeer) -> Link:
        key = site, peer.peer_id
        if key not in self._links:
            self._links[key] = noisy(link(self._sites[site], peer.place), self._noise, self._rng)
        return self._links[key]


def noisy(true: Link, noise: float, rng: random.Random) -> Link:
    """`true` as somebody measures it."""
    return Link(true.round_trip_s * rng.lognormvariate(0, noise), true.bytes_per_s * rng.lognormvariate(0, noise))


def _announced(peer: SimulatedPeer) -> PeerInfo:
    wait_s, _ = peer.queue(peer.rate, peer.work)
    sessions = len(peer.sessions)
    load = pb.Load(sessions=sessions, decoding=peer.decoding, free_pages=max(peer.room - sessions, 0))
    return replace(peer.info, load=load, costs=replace(peer.info.costs, queue_s=wait_s))
