"""What it costs to send a token through a peer and over a link: the data that routes and placements are computed from.

Pure. A server measures itself (swarm.server.costs) and its neighbours (swarm.peers.pings) and announces the result in
its directory record as `PeerCosts`; a client joins that with what it has seen itself (swarm.peers.estimates), which
outweighs what a peer claims, to one swarm.route.route.Candidate per peer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.route.means import BatchTimes

BATCHES = (1, 2, 4, 8, 16)  # sessions in a batch for which a decode time is announced
DEFAULT_BYTES_PER_S = 125e6  # 1 Gbit/s: a link nobody has measured
DEFAULT_ROUND_TRIP_S = 0.05  # so is this, between two strangers
DEFAULT_BLOCK_S = 0.002  # a block of a peer that announces nothing, one token


@dataclass(frozen=True)
class Link:
    """Between two processes, the same in both directions."""

    round_trip_s: float = DEFAULT_ROUND_TRIP_S
    bytes_per_s: float = DEFAULT_BYTES_PER_S

    def one_way_s(self, nbytes: float) -> float:
        """Seconds until `nbytes` sent at once have arrived."""
        return self.round_trip_s / 2 + nbytes / self.bytes_per_s


@dataclass(frozen=True)
class PeerCosts:
    """What a peer says of its own speed, and of its links to likely neighbours."""

    decode_s: tuple[float, ...] = ()  # of one block, for one step of a batch of BATCHES[i] sessions; (): not measured
    prefill_s: float = 0.0  # of one block, per token of a prompt; 0: not measured
    queue_s: float = 0.0  # mean wait of a step before its batch begins
    started_ms: int = 0  # when the peer began to serve, Unix time; 0: not said
    links: Mapping[str, Link] = field(default_factory=dict)  # by peer id
    step_s: float = 0.0  # of a processor, for one step of one session, outside the blocks; 0: not said
    threads: int = 0  # processors that compute the blocks; 0: a GPU does
    cores: int = 0  # processors that the machine gives this peer; 0: not said
    machine: bytes = b""  # peers with the same one share these; empty: not said
    row_s: float = 0.0  # of a processor (of the GPU): of one block, for a row of a large batch; 0: not said

    def decode_block_s(self, batch: float) -> float:
        """Seconds of one block for one step of a batch of `batch` sessions, see BatchTimes."""
        return BatchTimes(BATCHES, self.decode_s).seconds(batch) if self.decode_s else DEFAULT_BLOCK_S

    def prefill_block_s(self) -> float:
        """Seconds of one block per token of a prompt."""
        return self.prefill_s or self.decode_block_s(BATCHES[-1]) / BATCHES[-1]
