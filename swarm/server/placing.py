"""Which blocks this server serves, where its contributor did not say: at the start, and when others would help more.

The plans themselves are in swarm.route.placement. Servers that see the same directory make the same plan, in which one
of them moves. Two may still see different pictures, or join in the same second, and both fill the same gap; therefore
each announces what it is about to do, waits, and looks again whether somebody else has announced something that makes
it pointless.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from swarm.errors import PeerUnreachable
from swarm.peers.directory import Directory
from swarm.peers.poll import poll
from swarm.route.peer import PeerInfo
from swarm.route.placement.placed import place, placed_from_record, replicas
from swarm.route.placement.rebalance import Move, next_move, worth_moving
from swarm.server.announcement import Announcement
from swarm.wire import messages_pb2 as pb
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, max_message_bytes

KNOCK_TIMEOUT_S = 3.0
MOST_ASKED = 64  # of a large swarm, some
RETRY_S = 1.0  # where the directory does not answer
SETTLE_S = (0.5, 1.5)  # between an announcement and the second look; random, so that not all look at once

_Picture = tuple[tuple[str, int, int, float], ...]  # peer id, start, stop and speed of each

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """Blocks that a server is to serve, and how many it could."""

    start: int
    stop: int
    max_blocks: int


async def knock(peer: PeerInfo, member: Certificate | None = None) -> None:
    """member: in a private swarm, this server's certificate. Raises PeerUnreachable if `peer` does not answer."""
    connection = Peer(peer.endpoint, max_message_bytes(hidden_size=0), member)
    try:
        await connection.status(KNOCK_TIMEOUT_S)
    finally:
        await connection.close()


class Placing:
    """One server's part in the placement of all. Lives in the event loop."""

    def __init__(
        self, directory: Directory, announcement: Announcement, ask: Callable[[PeerInfo], Awaitable[object]] = knock
    ):
        """announcement: this server's own: others plan with what it says. ask: raises PeerUnreachable for a peer that
        does not answer."""
        self._directory, self._announcement, self._ask = directory, announcement, ask
        self._rng = random.Random()
        self._well_placed: _Picture | None = None  # in which there was nothing to do

    async def choose(self, max_blocks: int, blocks_per_s: float, alone: bool = False) -> Assignment:
        """The range that this server takes, announced as one that it is about to serve.

        alone: this server starts a swarm, and need not look out for others that start in the same second.
        """
        while True:
            try:
                others = await self._present(await self._others())
            except PeerUnreachable:  # where others are is not known; that is not to be where nobody is
                await asyncio.sleep(RETRY_S)
                continue
            placed = [placed_from_record(peer) for peer in others]
            chosen = Assignment(*place(max_blocks, blocks_per_s, placed, self._own.num_blocks), max_blocks)
            await self._announcement.joining(chosen.start, chosen.stop, max_blocks)
            if alone:
                return chosen
            await self._settle()
            with suppress(PeerUnreachable):
                if not self._outbid(await self._others(), others):
                    return chosen

    async def _present(self, others: Sequence[PeerInfo]) -> list[PeerInfo]:
        """Without those on whom alone some block rests, and who do not answer: what has crashed is still listed for a
        while, and serves nobody."""
        serving = [peer for peer in others if peer.state != pb.JOINING]
        counts = replicas([placed_from_record(peer) for peer in serving], self._own.num_blocks)
        alone = [peer for peer in serving if (counts[peer.start : peer.stop] == 1).any()][:MOST_ASKED]
        answers = await poll(alone, self._ask)
        silent = {peer.peer_id for peer in alone} - answers.keys()
        return [peer for peer in others if peer.peer_id not in silent]

    def _outbid(self, now: Sequence[PeerInfo], then: Sequence[PeerInfo]) -> bool:
        """Whether somebody with a smaller peer id has announced since to join where this server wants to. Of two that
        want the same, one gives way."""
        own, known = self._own, {(peer.peer_id, peer.blocks) for peer in then}
        return any(
            peer.state == pb.JOINING
            and (peer.peer_id, peer.blocks) not in known
            and peer.peer_id < own.peer_id
            and peer.start < own.stop
            and peer.stop > own.start
            for peer in now
        )

    async def next_move(self, reload_s: float) -> Assignment | None:
        """Where this server should go now, if anywhere: announced, and agreed by all that can be seen.

        reload_s: what loading takes here.
        """
        move = await self._plan(reload_s)
        if move is None:
            return None
        await self._announcement.moving()
        await self._settle()
        if await self._plan(reload_s) == move:
            return Assignment(move.start, move.stop, self._own.max_blocks)
        await self._announcement.online()
        return None

    async def _plan(self, reload_s: float) -> Move | None:
        try:
            others, own = await self._others(), self._own
        except PeerUnreachable:
            return None
        moving = [peer.peer_id for peer in others if peer.state == pb.MOVING]
        if moving and (own.state != pb.MOVING or min(moving) < own.peer_id):
            return None
        placed = [placed_from_record(peer) for peer in (*others, own)]
        picture = tuple(sorted((peer.peer_id, peer.start, peer.stop, peer.blocks_per_s) for peer in placed))
        if picture == self._well_placed:
            return None
        move = await asyncio.to_thread(next_move, placed, own.num_blocks)
        if move is None:
            self._well_placed = picture
        if move is None or move.peer_id != own.peer_id or not worth_moving(move, reload_s):
            return None
        return move

    @property
    def _own(self) -> PeerInfo:
        return self._announcement.record

    async def _others(self) -> list[PeerInfo]:
        """Everyone who serves this revision of the model, or is about to. Raises PeerUnreachable."""
        own = self._own
        peers = await self._directory.peers(own.model, joining=True)
        return [peer for peer in peers if peer.peer_id != own.peer_id and peer.revision == own.revision]

    async def _settle(self) -> None:
        await asyncio.sleep(self._rng.uniform(*SETTLE_S))
