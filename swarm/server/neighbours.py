"""Who may come before and after this server in a chain, and how far away they are."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from swarm.errors import PeerUnreachable
from swarm.peers.directory import READING_SHARE, Directory
from swarm.peers.pings import Pings
from swarm.route.costs import Link
from swarm.route.peer import MAX_LINKS, PeerInfo
from swarm.server.announcement import Announcement
from swarm.wire.connections import Connections
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer

STRANGERS = 4  # of the MAX_LINKS neighbours asked at a time, drawn from all but the nearest


def may_meet(record: PeerInfo, peer: PeerInfo) -> bool:
    """Whether a chain is likely to lead from one of the two straight to the other: one ends where the other goes on."""
    if peer.revision != record.revision or peer.blocks == record.blocks:
        return False
    first, last = record.start == 0, record.stop == record.num_blocks
    ends_meet = (last and peer.start == 0) or (first and peer.stop == peer.num_blocks)  # where tokens go in a ring
    return ends_meet or peer.start <= record.stop < peer.stop or record.start <= peer.stop < record.stop


def choose(neighbours: Sequence[PeerInfo], links: Mapping[str, Link], rng: random.Random) -> list[PeerInfo]:
    """Whom to ask now: the nearest of `neighbours`, as far as `links` (nearest first) tell, and some others."""
    by_id = {peer.peer_id: peer for peer in neighbours}
    known = [peer_id for peer_id in links if peer_id in by_id]
    nearest = known[: MAX_LINKS - STRANGERS]
    others = [peer_id for peer_id in by_id if peer_id not in nearest]
    strangers = rng.sample(others, min(len(others), MAX_LINKS - len(nearest)))
    return [by_id[peer_id] for peer_id in nearest + strangers]


class Neighbours:
    """Measures the links to this server's neighbours, beside serving. Lives in the event loop."""

    def __init__(self, directory: Directory, announcement: Announcement, max_bytes: int, member: Certificate | None):
        """announcement: this server's own. member: in a private swarm, this server's certificate."""
        self._directory, self._announcement = directory, announcement
        self._connections = Connections(lambda endpoint: Peer(endpoint, max_bytes, member))
        self._pings = Pings(self._connections.to)
        self._neighbours: list[PeerInfo] = []
        self._read_again_s = 0.0  # time.monotonic()
        self._rng = random.Random()

    def links(self) -> dict[str, Link]:
        """To neighbours that are in the directory and answer: MAX_LINKS of them at most, nearest first."""
        absent = self._pings.failures()
        present = {peer.peer_id for peer in self._neighbours if peer.peer_id not in absent}
        links = [(peer_id, link) for peer_id, link in self._pings.links().items() if peer_id in present]
        return dict(links[:MAX_LINKS])

    async def run(self, interval_s: float) -> None:
        """Measure every `interval_s` seconds until cancelled, in the middle between two heartbeats."""
        await asyncio.sleep(interval_s / 2)
        while True:
            await self._measure()
            await asyncio.sleep(interval_s)

    async def _measure(self) -> None:
        if time.monotonic() >= self._read_again_s:
            await self._read_directory()
        chosen = choose(self._neighbours, self._pings.links(), self._rng)
        self._connections.keep_only({peer.peer_id for peer in chosen})
        await self._pings.round(chosen, limit=MAX_LINKS)

    async def _read_directory(self) -> None:
        started_s = time.monotonic()
        own = self._announcement.record
        with suppress(PeerUnreachable):  # then they are those of before
            self._neighbours = [peer for peer in await self._directory.peers(own.model) if may_meet(own, peer)]
        now_s = time.monotonic()
        self._read_again_s = now_s + (now_s - started_s) / READING_SHARE

    async def close(self) -> None:
        """After `run` was cancelled."""
        await self._connections.close()
