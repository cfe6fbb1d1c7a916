"""Which chain a session takes: what the directory says, less what this client has seen fail."""

import asyncio
import random
import time
from collections.abc import Collection
from dataclasses import replace

from swarm.errors import NoRoute, PeerUnreachable, RevisionMismatch
from swarm.model.checkpoint import Checkpoint
from swarm.route.directory import RECORD_LIFE_S, Directory
from swarm.route.record import PeerInfo
from swarm.route.route import Hop, fewest_hops
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import Peer, max_message_bytes

REFRESH_S = 5.0  # how old a picture of the swarm may be when a session starts
PING_TIMEOUT_S = 1.0


class Router:
    """Knows the peers that serve one model, and holds a connection to each that was used. Lives in one event loop."""

    def __init__(
        self,
        directory: Directory,
        checkpoint: Checkpoint,
        dtype: str | None = None,
        quant: str | None = None,
    ):
        """dtype, quant: only peers that compute in it, and with weights in this format; None takes any."""
        self._directory, self._dtype, self._quant = directory, dtype, quant
        self._model, self._revision = checkpoint.name, checkpoint.revision
        self._num_blocks = checkpoint.config.num_blocks
        self._max_bytes = max_message_bytes(checkpoint.config.hidden_size)
        self._peers: list[PeerInfo] = []
        self._refreshed = -REFRESH_S
        self._refreshing = asyncio.Lock()
        self._failed: dict[str, float] = {}  # peer id -> when it may be chosen again
        self._connections: dict[bytes, Peer] = {}
        self._rng = random.Random()

    async def chain(self, avoid: Collection[str] = ()) -> list[Hop]:
        """A chain for a new session, without the peers in `avoid` and those that failed lately.

        Raises NoRoute naming the blocks that nobody covers, RevisionMismatch if only other revisions are served.
        """
        if time.monotonic() - self._refreshed > REFRESH_S:
            await self._refresh()
        try:
            return self._choose(avoid)
        except NoRoute:
            await self._refresh()  # somebody may have joined just now
            await self._pardon()
            return self._choose(avoid)

    async def replacement(
        self, start: int, stop: int, before: PeerInfo | None, after: PeerInfo | None, avoid: Collection[str]
    ) -> tuple[list[Hop], list[Peer]]:
        """See swarm.client.recovery.Spares."""
        whole = [replace(peer, start=max(peer.start, start) - start, stop=min(peer.stop, stop) - start)
                 for peer in self._peers if not self.is_failed(peer.peer_id) and peer.peer_id not in avoid
                 and peer.start < stop and peer.stop > start]
        by_id = {peer.peer_id: peer for peer in self._peers}
        try:
            hops = fewest_hops(whole, stop - start, self._rng)
        except NoRoute:
            await self._refresh()
            raise
        hops = [Hop(by_id[hop.peer.peer_id], hop.start + start, hop.stop + start) for hop in hops]
        return hops, [self.connection_to(hop.peer.endpoint) for hop in hops]

    async def candidates(self) -> list[PeerInfo]:
        """The peers that a chain may be made of now."""
        await self._refresh()
        return [peer for peer in self._peers if self._has_same_model(peer) and self._is_wanted(peer)]

    def report_failure(self, peer_id: str) -> None:
        """Do not choose this peer again until its present directory record has expired: if it is still listed by
        then, it has refreshed the record since and lives."""
        self._failed[peer_id] = time.monotonic() + RECORD_LIFE_S
        for key in [key for key, peer in self._connections.items() if peer.peer_id == peer_id]:
            self._connections.pop(key)  # sessions that still use it keep it alive

    def connection_to(self, endpoint: pb.Endpoint) -> Peer:
        """The connection to a peer, shared by all sessions."""
        key = endpoint.SerializeToString(deterministic=True)
        if key not in self._connections:
            self._connections[key] = Peer(endpoint, self._max_bytes)
        return self._connections[key]

    def is_failed(self, peer_id: str) -> bool:
        return self._failed.get(peer_id, 0.0) > time.monotonic()

    async def close(self) -> None:
        for peer in self._connections.values():
            await peer.close()
        await self._directory.leave()

    def _choose(self, avoid: Collection[str]) -> list[Hop]:
        usable = [peer for peer in self._peers if peer.peer_id not in avoid and not self.is_failed(peer.peer_id)]
        same = [peer for peer in usable if self._has_same_model(peer)]
        if usable and not same:
            others = ", ".join(sorted({peer.revision for peer in usable}))
            raise RevisionMismatch(
                f"the swarm serves {self._model!r} in revision {others}, this client has {self._revision}; "
                "use the same files on both sides"
            )
        wanted = [peer for peer in same if self._is_wanted(peer)]
        if same and not wanted:
            there = ", ".join(sorted({f"quant {peer.quant} with dtype {peer.dtype}" for peer in same}))
            raise NoRoute(
                f"no peer serves {self._model!r} with quant {self._quant or 'any'} and dtype {self._dtype or 'any'}, "
                f"as this client demands; there is {there}"
            )
        return fewest_hops(wanted, self._num_blocks, self._rng)

    def _has_same_model(self, peer: PeerInfo) -> bool:
        return peer.revision == self._revision and peer.num_blocks == self._num_blocks

    def _is_wanted(self, peer: PeerInfo) -> bool:
        return self._dtype in (None, peer.dtype) and self._quant in (None, peer.quant)

    async def _refresh(self) -> None:
        async with self._refreshing:
            self._peers = await self._directory.peers(self._model)
            self._refreshed = time.monotonic()

    async def _pardon(self) -> None:
        """Nothing is left to choose from: a failed peer that answers again may be chosen again."""
        failed = [peer for peer in self._peers if self.is_failed(peer.peer_id)]
        await asyncio.gather(*(self._pardon_if_alive(peer) for peer in failed))

    async def _pardon_if_alive(self, info: PeerInfo) -> None:
        peer = Peer(info.endpoint, self._max_bytes)
        try:
            await peer.status(PING_TIMEOUT_S)
        except PeerUnreachable:
            return
        finally:
            await peer.close()
        self._failed.pop(info.peer_id, None)
