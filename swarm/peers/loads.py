"""How busy peers are, by what they said last."""

import time
from collections import Counter
from collections.abc import Callable, Iterable

from swarm.peers.poll import poll
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.connections import Connections

FRESH_S = 5.0  # how long what a peer said counts for more than its directory record
STATUS_TIMEOUT_S = 1.0


class Loads:
    """Of the peers of one model."""

    def __init__(self, connections: Connections, own_sessions: Callable[[], Counter[str]] = Counter):
        """own_sessions: how many sessions this client has open, by peer id: news to the directory."""
        self._connections, self._own_sessions = connections, own_sessions
        self._heard: dict[str, tuple[float, pb.Load]] = {}  # by peer id: when, and what

    def note(self, peer_id: str, load: pb.Load) -> None:
        """A peer has just said how busy it is."""
        self._heard[peer_id] = time.monotonic(), load

    async def ask(self, peers: Iterable[PeerInfo]) -> dict[str, pb.Load]:
        """Fresh ones, by peer id, of those that answer."""

        async def ask(peer: PeerInfo) -> pb.Load:
            return (await self._connections.to(peer.endpoint).status(STATUS_TIMEOUT_S)).load

        found = await poll(peers, ask)
        for peer_id, load in found.items():
            self.note(peer_id, load)
        return found

    def of(self, peers: Iterable[PeerInfo]) -> list[pb.Load]:
        """The newest that are known, and no less than what this client itself keeps busy there."""
        own = self._own_sessions()
        return [self._of(peer, own[peer.peer_id]) for peer in peers]

    def _of(self, peer: PeerInfo, own: int) -> pb.Load:
        heard, load = self._heard.get(peer.peer_id, (float("-inf"), peer.load))
        newest = load if time.monotonic() - heard < FRESH_S else peer.load
        if newest.decoding >= own:
            return newest
        known = pb.Load()
        known.CopyFrom(newest)
        known.decoding = own
        return known
