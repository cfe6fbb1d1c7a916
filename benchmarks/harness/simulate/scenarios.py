"""Swarms and loads on which routing policies are compared. Pure: a scenario is figures, and a seed."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.simulate.clients import noisy
from harness.simulate.peers import Arrival, Place, SimulatedPeer, link
from harness.simulate.world import World
from swarm.route.costs import BATCHES, PeerCosts
from swarm.route.peer import PeerInfo
from swarm.route.placement.placed import place as place_newcomer
from swarm.route.placement.placed import placed_from_record
from swarm.wire import messages_pb2 as pb

LINKS = 16  # that a peer measures, to the nearest of those that serve what follows its blocks
GROWTH = 0.15  # of a batch's time with each further session
SITES = 8


@dataclass(frozen=True)
class Scenario:
    """A swarm of peers with these figures, and requests for it."""

    name: str
    peers: int = 1000
    requests: int = 10_000
    arrivals_per_s: float = 0.05  # for each peer
    num_blocks: int = 32
    widths: tuple[int, int] = (5, 16)  # blocks that a peer serves, least and most
    block_s: float = 0.002  # median, one session
    speeds: float = 0.0  # standard deviation of the logarithm of a peer's speed
    regions: int = 1  # that peers and clients are spread over
    region_size: float = 0.0  # on a map that measures one by one; all regions together span it
    bytes_per_s: tuple[float, float] = (125e6, 125e6)  # of access lines, least and most
    life_s: float = 0.0  # mean time until a peer dies and another joins; 0: none does
    prompt_tokens: int = 128  # mean
    new_tokens: int = 128  # mean
    token_bytes: int = 8192
    seed: int = 0

    def world(self) -> World:
        rng = random.Random(f"{self.name} {self.seed}")
        regions = [(rng.random(), rng.random()) for _ in range(self.regions)]
        return World(
            num_blocks=self.num_blocks,
            token_bytes=self.token_bytes,
            sites=[Place(*self._point(regions, rng), 125e6) for _ in range(SITES)],
            arrivals=self._arrivals(rng),
            newcomer=lambda others, number, lives: self._peer(others, number, regions, lives),
            peers=self.peers,
            life_s=self.life_s,
            seed=self.seed,
        )

    def _point(self, regions: Sequence[tuple[float, float]], rng: random.Random) -> tuple[float, float]:
        x, y = rng.choice(regions)
        return x + rng.gauss(0, self.region_size), y + rng.gauss(0, self.region_size)

    def _arrivals(self, rng: random.Random) -> list[Arrival]:
        """A Poisson process; numbers of tokens are exponentially distributed."""
        arrivals, at_s = [], 0.0
        for _ in range(self.requests):
            at_s += rng.expovariate(self.arrivals_per_s * self.peers)
            prompt, new = (1 + int(rng.expovariate(1 / mean)) for mean in (self.prompt_tokens, self.new_tokens))
            arrivals.append(Arrival(at_s, rng.randrange(SITES), prompt, new))
        return arrivals

    def _peer(
        self, others: Sequence[SimulatedPeer], number: int, regions: Sequence[tuple[float, float]], rng: random.Random
    ) -> SimulatedPeer:
        width = min(rng.randint(*self.widths), self.num_blocks)
        least, most = self.bytes_per_s
        bytes_per_s = math.exp(rng.uniform(math.log(least), math.log(most)))
        place = Place(*self._point(regions, rng), bytes_per_s)
        block_s = self.block_s * rng.lognormvariate(0, self.speeds)
        decode_s = tuple(block_s * (1 + GROWTH * (batch - 1)) for batch in BATCHES)
        placed = [placed_from_record(other.info) for other in others]
        start, stop = place_newcomer(width, BATCHES[-1] / decode_s[-1], placed, self.num_blocks)
        next_to = sorted(
            (link(place, other.place).round_trip_s, other.peer_id, other)
            for other in others
            if other.info.start <= stop < other.info.stop or other.info.start < start <= other.info.stop
        )[:LINKS]
        links = {peer_id: noisy(link(place, other.place), 0.1, rng) for _, peer_id, other in next_to}
        costs = PeerCosts(decode_s, decode_s[-1] / BATCHES[-1], links=links)
        info = PeerInfo(
            f"peer{number}",
            self.name,
            "",
            start,
            stop,
            self.num_blocks,
            "float32",
            "none",
            "",
            pb.Endpoint(),
            False,
            0,
            0,
            pb.Load(),
            costs,
        )
        return SimulatedPeer(info, place, GROWTH, room=64)


_WORLD = {"regions": 6, "region_size": 0.03}

SCENARIOS = (
    Scenario("equal peers, one LAN"),
    Scenario("unequal speeds, one LAN", speeds=0.6),
    Scenario("six regions", speeds=0.4, **_WORLD),
    Scenario("six regions, mixed lines", speeds=0.4, bytes_per_s=(0.5e6, 125e6), **_WORLD),
    Scenario("six regions, hardly any load", speeds=0.4, arrivals_per_s=0.002, **_WORLD),
    Scenario("high load", speeds=0.4, arrivals_per_s=0.3, regions=2, region_size=0.02),
    Scenario("peers come and go", speeds=0.4, life_s=600.0, **_WORLD),
)
