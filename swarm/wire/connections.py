"""Connections of one process to many peers."""

import asyncio
from collections.abc import Callable, Collection

from swarm.wire import messages_pb2 as pb
from swarm.wire.tasks import TaskSet
from swarm.wire.transport import Peer

LAST_CALLS_S = 120.0  # a connection that nobody shall use any more stays open so long for those that still do


class Connections:
    """One connection to each peer, made when first asked for and shared by all who ask. Lives in one event loop."""

    def __init__(self, connect: Callable[[pb.Endpoint], Peer]):
        """connect: opens a connection; raises InvalidRequest if the endpoint's certificate is none."""
        self._connect = connect
        self._open: dict[bytes, tuple[str, Peer]] = {}  # by endpoint, for a peer that restarts has another; with its id
        self._closing = TaskSet("closing connections")

    def to(self, endpoint: pb.Endpoint) -> Peer:
        """Raises InvalidRequest if its certificate is none."""
        key = endpoint.SerializeToString(deterministic=True)
        if key not in self._open:
            self._open[key] = endpoint.peer_id, self._connect(endpoint)
        return self._open[key][1]

    def drop(self, peer_id: str) -> None:
        """The next one who asks for this peer gets a new connection; the old one closes after its last call."""
        self._close([key for key, (id_, _) in self._open.items() if id_ == peer_id])

    def keep_only(self, peer_ids: Collection[str]) -> None:
        """Drop all others."""
        self._close([key for key, (id_, _) in self._open.items() if id_ not in peer_ids])

    def _close(self, keys: Collection[bytes]) -> None:
        for key in keys:
            self._closing.start(self._open.pop(key)[1].close(LAST_CALLS_S))

    async def close(self) -> None:
        """Close all at once."""
        closing = [peer.close() for _, peer in self._open.values()]
        await asyncio.gather(self._closing.close(), *closing, return_exceptions=True)
        self._open.clear()
