"""The parts of a simulated swarm: places and links between them, peers that compute in batches, sessions. Pure."""

import math
from dataclasses import dataclass, field

from swarm.route.costs import Link
from swarm.route.peer import PeerInfo

LAST_METRE_S = 0.0004  # round trip between two processes at one place
MAP_S = 0.15  # round trip over one unit of the map


@dataclass(frozen=True)
class Place:
    """On a map that measures one by one, at the end of an access line."""

    x: float
    y: float
    bytes_per_s: float


def link(left: Place, right: Place) -> Link:
    """Longer with distance, as fast as the slower of the two lines."""
    distance = math.hypot(left.x - right.x, left.y - right.y)
    return Link(LAST_METRE_S + MAP_S * distance, min(left.bytes_per_s, right.bytes_per_s))


@dataclass(eq=False)
class SimulatedPeer:
    """A batch server: a step that arrives while a batch is computed waits for it, and is part of the next one."""

    info: PeerInfo
    place: Place
    growth: float  # of a batch's time with each further session, as a part of the time of one
    room: int  # sessions at once
    born_s: float = 0.0
    alive: bool = True
    rate: float = 0.0  # steps per second that arrive
    work: float = 0.0  # blocks per second that they ask for
    prefilling: float = 0.0  # prompts being computed
    sessions: dict[int, "Session"] = field(default_factory=dict)  # by number
    decoding: int = 0  # of them, in the middle of generating

    @property
    def peer_id(self) -> str:
        return self.info.peer_id

    def refuses(self) -> bool:
        """A new session."""
        return not self.alive or len(self.sessions) >= self.room

    def step_s(self, blocks: int, own_rate: float = 0.0) -> tuple[float, float]:
        """Wait, and computing of `blocks` blocks, of a step whose own session already sends `own_rate` a second."""
        wait_s, batch = self.queue(self.rate - own_rate, self.work - own_rate * blocks)
        return wait_s, blocks * self._block_s(batch)

    def queue(self, rate: float, work: float) -> tuple[float, float]:
        """Mean wait, and mean batch, when so many steps and blocks arrive a second.

        A batch b takes S(b) = S (1 + growth (b - 1)). Where the next is made up of what arrives meanwhile, b = rate *
        S(b), which is solved for b; up to b = 1 the peer is idle in between. Half a batch is the mean wait of what
        arrives during one.
        """
        offered = max(work, 0.0) * self._block_s(1)
        most = max(len(self.sessions), 1)
        saturates = offered * self.growth >= 1
        batch = most if saturates else min(max(offered * (1 - self.growth) / (1 - offered * self.growth), 1.0), most)
        mean_blocks = work / rate if rate > 1e-9 else 0.0
        return min(offered, 1.0) * mean_blocks * self._block_s(batch) / 2, batch

    def _block_s(self, batch: float) -> float:
        """Of one block; half the time goes to a prompt's chunk while there is a prompt."""
        share = 1 + min(self.prefilling, 1.0)
        return self.info.costs.decode_s[0] * (1 + self.growth * (batch - 1)) * share

    def prefill_s(self, blocks: int, tokens: int) -> float:
        """Of a prompt, beside those of others and the decode steps."""
        busy = min(self.work * self.info.costs.decode_s[0], 1.0)
        return blocks * tokens * self.info.costs.prefill_s * (1 + busy + self.prefilling)


@dataclass(frozen=True)
class Arrival:
    """A request to come."""

    at_s: float
    site: int  # where its client is
    prompt_tokens: int
    new_tokens: int


@dataclass
class Part:
    """A hop of a session, and what the session puts on its peer."""

    peer: SimulatedPeer
    start: int
    stop: int
    ready: bool = False  # holds all tokens so far
    rate: float = 0.0
    prefilling: float = 0.0

    @property
    def blocks(self) -> int:
        return self.stop - self.start

    def load(self, rate: float = 0.0, prefilling: float = 0.0) -> None:
        """From now on: `rate` steps a second, `prefilling` of a prompt."""
        self.peer.rate += rate - self.rate
        self.peer.work += (rate - self.rate) * self.blocks
        self.peer.prefilling += prefilling - self.prefilling
        self.peer.decoding += (rate > 0) - (self.rate > 0)
        self.rate, self.prefilling = rate, prefilling


@dataclass(eq=False)
class Session:
    """One request on its way, and at its end what it took."""

    number: int
    arrival: Arrival
    parts: list[Part] = field(default_factory=list)  # in order; with gaps after a loss
    made: int = 0  # new tokens
    tries: int = 0  # in vain, in a row
    turn: int = 0  # what was planned in an earlier turn no longer happens
    links_s: float = 0.0  # of all links, one token
    chunk: tuple[float, float, int] = (0.0, 1.0, 0)  # under way: since when, seconds per token, tokens
    decoding_since_s: float = math.nan
    ended_s: float = math.nan
    failed: bool = False
    losses: int = 0  # of peers
    replayed: int = 0  # tokens sent again to a replacement

    @property
    def tokens(self) -> int:
        """That a peer must hold."""
        return self.arrival.prompt_tokens + self.made

    @property
    def token_s(self) -> float:
        """Mean time per new token, losses included."""
        return (self.ended_s - self.decoding_since_s) / self.arrival.new_tokens

    @property
    def total_s(self) -> float:
        return self.ended_s - self.arrival.at_s

    def gap(self, num_blocks: int) -> tuple[int, int] | None:
        """The first blocks that no part covers."""
        covered = 0
        for part in self.parts:
            if part.start > covered:
                return covered, part.start
            covered = part.stop
        return (covered, num_blocks) if covered < num_blocks else None
