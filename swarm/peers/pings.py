"""Round trips and bandwidths to many peers, measured with the Status method.

Servers measure their likely neighbours with it, clients every peer that they might use. A visit to a peer is a few
requests in a row:

- the first is not counted: it pays for the TLS handshake, or wakes a connection that has slept;
- the faster of the next two is the round trip;
- now and then two padded ones follow. What the faster takes beyond the round trip is the padding's time on the link;
  the slower one has opened TCP's congestion window for it.

Estimates follow improvements at once and deteriorations slowly: one answer that was held up says little, and a fast
one cannot be luck. What was measured of a peer stays until nobody has asked for that peer for an hour, however many
others have been measured since.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.errors import InvalidRequest, PeerUnreachable
from swarm.peers.poll import MEASURED_AT_ONCE, poll
from swarm.route.costs import DEFAULT_BYTES_PER_S, Link
from swarm.route.means import RunningMean
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import Peer

PEERS_PER_ROUND = 32
TIMEOUT_S = 2.0
PADDING_BYTES = 60 * 1024  # HTTP/2's first window is 64 KiB; whatever exceeds it waits another round trip
BANDWIDTH_AGE_S = 300.0  # after which it is measured again
FORGET_S = 3600.0
FASTEST_BYTES_PER_S = 1.25e9  # beyond it, such a small padding takes no time that could be told from noise

_ROUND_TRIP_RISE = 0.1  # of the difference, when a visit finds the peer further away than thought
_BANDWIDTH_FALL = 0.3


@dataclass
class _Seen:
    """What is known of one peer. Times are the clock's."""

    tried_s: float
    failed_s: float | None = None  # its last visit failed then
    round_trip_s: RunningMean = field(default_factory=lambda: RunningMean(_ROUND_TRIP_RISE, fall=1.0))
    bytes_per_s: RunningMean = field(default_factory=lambda: RunningMean(1.0, fall=_BANDWIDTH_FALL))
    bandwidth_s: float = -BANDWIDTH_AGE_S  # when it was measured


class Pings:
    """Lives in one event loop. Opens no connections itself, and closes none."""

    def __init__(
        self,
        connection_to: Callable[[pb.Endpoint], Peer],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ):
        """connection_to: the connection to use for an endpoint."""
        self._connection_to, self._clock, self._rng = connection_to, clock, rng or random.Random()
        self._seen: dict[str, _Seen] = {}

    def links(self) -> dict[str, Link]:
        """To every peer that was ever measured, by peer id, nearest first."""
        measured = [(peer_id, seen) for peer_id, seen in self._seen.items() if seen.round_trip_s.is_known]
        measured.sort(key=lambda item: item[1].round_trip_s.value)
        return {
            peer_id: Link(seen.round_trip_s.value, seen.bytes_per_s.value or DEFAULT_BYTES_PER_S)
            for peer_id, seen in measured
        }

    def failures(self) -> Mapping[str, float]:
        """Peers that did not answer when last asked, and when that was by the clock."""
        return {peer_id: seen.failed_s for peer_id, seen in self._seen.items() if seen.failed_s is not None}

    async def round(self, peers: Sequence[PeerInfo], limit: int = PEERS_PER_ROUND) -> None:
        """Visit up to `limit` of `peers`: those never tried, in random order, then those tried longest ago.

        A peer that does not answer is noted in `failures`, and raises nothing.
        """
        self._forget()
        await poll(self._choose(peers, limit), self._visit, MEASURED_AT_ONCE)

    def _choose(self, peers: Sequence[PeerInfo], limit: int) -> list[PeerInfo]:
        def tried_s(peer: PeerInfo) -> float:
            return self._seen[peer.peer_id].tried_s if peer.peer_id in self._seen else float("-inf")

        return sorted(self._rng.sample(peers, len(peers)), key=tried_s)[:limit]

    async def _visit(self, info: PeerInfo) -> None:
        seen = self._seen.setdefault(info.peer_id, _Seen(0.0))
        seen.tried_s = self._clock()
        try:
            peer = self._connection_to(info.endpoint)
            _, round_trip_s = await measure_round_trip(peer, TIMEOUT_S, self._clock)
            seen.round_trip_s.observe(round_trip_s)
            if seen.tried_s - seen.bandwidth_s >= BANDWIDTH_AGE_S:
                _, padded_s = await _faster_of_two(peer, TIMEOUT_S, self._clock, PADDING_BYTES)
                # Of a fast link the padding takes less than the noise, even less than nothing.
                transfer_s = max(padded_s - round_trip_s, PADDING_BYTES / FASTEST_BYTES_PER_S)
                seen.bytes_per_s.observe(PADDING_BYTES / transfer_s)
                seen.bandwidth_s = seen.tried_s
            seen.failed_s = None
        except (PeerUnreachable, InvalidRequest):  # the latter for a certificate that is none
            seen.failed_s = self._clock()

    def _forget(self) -> None:
        horizon = self._clock() - FORGET_S
        self._seen = {id_: seen for id_, seen in self._seen.items() if seen.tried_s > horizon}


async def measure_round_trip(peer: Peer, timeout_s: float, clock: Callable[[], float]) -> tuple[pb.Status, float]:
    """What `peer` says, and the faster of two round trips to it, after a question that is not counted: that one pays
    for the TLS handshake, or wakes a connection that has slept. Raises PeerUnreachable."""
    await peer.status(timeout_s)
    return await _faster_of_two(peer, timeout_s, clock)


async def _faster_of_two(
    peer: Peer, timeout_s: float, clock: Callable[[], float], padding_bytes: int = 0
) -> tuple[pb.Status, float]:
    times_s = []
    for _ in range(2):
        asked_s = clock()
        status = await peer.status(timeout_s, padding_bytes)
        times_s.append(clock() - asked_s)
    return status, min(times_s)
