"""Accusations, announced for as long as this client lives, and their evidence brought to where others can fetch it."""

import asyncio
import hashlib
import logging
import random
from dataclasses import dataclass, field
from pathlib import Path

from swarm.errors import SwarmError
from swarm.model.checkpoint import Checkpoint
from swarm.peers.convictions import Bundle, Conviction
from swarm.peers.directory import CONVICTION_LIFE_S
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.verify.fraud.proofs import AUDIT, Proof
from swarm.wire import blobs as blobs
from swarm.wire.identity import Identity

logger = logging.getLogger(__name__)

HOLDERS = 2  # peers that are to keep the same evidence, announced in turn: one of them may be an accomplice
TRIED = 6  # peers that are asked to, at most, each time
MAX_STANDING = 64  # accusations that are repeated
REPEAT_S = CONVICTION_LIFE_S / 2


@dataclass
class _Accusation:
    accused: str
    proof: Proof | None  # which is short enough for the directory
    file: Path | None  # of evidence, which is not
    holders: list[PeerInfo] = field(default_factory=list)  # whose turn it is comes first


class FraudAnnouncer:
    """Of one client. Lives in one event loop."""

    def __init__(self, view: PeerTable, checkpoint: Checkpoint, identity: Identity):
        """identity: the announcer's, which has signed the evidence as well."""
        self._view, self._checkpoint, self._identity = view, checkpoint, identity
        self._standing: dict[str, _Accusation] = {}  # by the accused: the directory takes one of each
        self._speaking = asyncio.Lock()  # one piece of evidence at a time is in memory
        self._beginning: set[asyncio.Task] = set()
        self._repeating: asyncio.Task | None = None

    def accuse(self, accused: str, file: Path) -> None:
        """Tell everybody, in the background, that the evidence in `file` convicts `accused`; once it is said, more
        evidence against the same peer adds nothing."""
        if accused not in self._standing:
            self._begin(_Accusation(accused, None, file))

    def prove(self, proof: Proof) -> None:
        """Tell everybody, in the background, what is proven by signatures alone. It takes the place of evidence."""
        standing = self._standing.get(proof.accused)
        if standing is None or standing.proof is None:
            self._begin(_Accusation(proof.accused, proof, None))

    def _begin(self, accusation: _Accusation) -> None:
        if len(self._standing) == MAX_STANDING:
            del self._standing[next(iter(self._standing))]  # the oldest: most have heard of it
        self._standing[accusation.accused] = accusation
        task = asyncio.create_task(self._say(accusation))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        if self._repeating is None:
            self._repeating = asyncio.create_task(self._repeat())

    async def close(self, grace_s: float) -> None:
        """Let what has not been said once be said."""
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=grace_s)
        for task in (*self._beginning, *([self._repeating] if self._repeating else [])):
            task.cancel()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(REPEAT_S)
            for accusation in list(self._standing.values()):
                await self._say(accusation)

    async def _say(self, accusation: _Accusation) -> None:
        """Announce it, with its proof or with one of those that keep its evidence now."""
        if accusation.proof:
            await self._announce(accusation.accused, accusation.proof.kind, proof=accusation.proof.encode())
            return
        async with self._speaking:
            try:
                data = await asyncio.to_thread(accusation.file.read_bytes)
            except OSError as error:
                logger.warning("peer %s is not accused: its evidence cannot be read: %s", accusation.accused, error)
                return
            digest = await asyncio.to_thread(lambda: hashlib.sha256(data).digest())
            await self._find_holders(accusation, data, digest)
        if not accusation.holders:
            logger.warning("nobody keeps the evidence against peer %s; it is not announced", accusation.accused)
            return
        holder = accusation.holders.pop(0)
        accusation.holders.append(holder)
        await self._announce(accusation.accused, AUDIT, bundle=Bundle(digest, len(data), holder.endpoint))

    async def _announce(self, accused: str, kind: str, **evidence: bytes | Bundle) -> None:
        conviction = Conviction(self._checkpoint.name, accused, self._identity.peer_id, kind, **evidence)
        await self._view.announce(conviction, self._identity)

    async def _find_holders(self, accusation: _Accusation, data: bytes, digest: bytes) -> None:
        """Who keeps it already says so at once."""
        before, accusation.holders = [holder.peer_id for holder in accusation.holders], []
        asked = [peer for peer in self._view.listed() if self._may_hold(peer, accusation.accused)]
        random.shuffle(asked)
        asked.sort(key=lambda peer: before.index(peer.peer_id) if peer.peer_id in before else len(before))
        for peer in asked[:TRIED]:
            if await self._deposit(peer, data, digest):
                accusation.holders.append(peer)
            if len(accusation.holders) == HOLDERS:
                break

    def _may_hold(self, peer: PeerInfo, accused: str) -> bool:
        """It need not be one of those that this client would compute on."""
        if peer.peer_id == accused or peer.revision != self._checkpoint.revision:
            return False
        return not self._view.is_failed(peer.peer_id) and not self._view.book.is_shunned(peer.peer_id)

    async def _deposit(self, peer: PeerInfo, data: bytes, digest: bytes) -> bool:
        try:
            await blobs.deposit(self._view.connection_to(peer), data, digest)
        except SwarmError as error:
            logger.info("peer %s does not keep evidence: %s", peer.peer_id, error)
            return False
        return True
