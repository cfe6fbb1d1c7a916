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
from swarm.peers.reputation import Reputation
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.verify.fraud.proofs import AUDIT, Proof
from swarm.wire import blobs
from swarm.wire.identity import Identity
from swarm.wire.tasks import TaskSet

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

    def __init__(self, table: PeerTable, reputation: Reputation, checkpoint: Checkpoint, identity: Identity):
        """identity: the announcer's, which has signed the evidence as well."""
        self._table, self._reputation = table, reputation
        self._checkpoint, self._identity = checkpoint, identity
        self._standing: dict[str, _Accusation] = {}  # by the accused: the directory takes one of each
        self._speaking = asyncio.Lock()  # one piece of evidence at a time is in memory
        self._beginning, self._repeating = TaskSet("announcing"), TaskSet("announcing again")

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
        self._beginning.start(self._say(accusation))
        if not self._repeating:
            self._repeating.start(self._repeat())

    async def close(self, grace_s: float) -> None:
        """Let what has not been said once be said."""
        await self._beginning.close(grace_s)
        await self._repeating.close()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(REPEAT_S)
            for accusation in list(self._standing.values()):
                await self._say(accusation)

    async def _say(self, accusation: _Accusation) -> None:
        """Announce it, with its proof or with one of those that keep its evidence now."""
        if accusation.proof:
            proof = accusation.proof
            await self._announce(self._conviction(accusation.accused, proof.kind, proof=proof.encode()))
        elif accusation.file and (bundle := await self._deposited(accusation, accusation.file)):
            await self._announce(self._conviction(accusation.accused, AUDIT, bundle=bundle))

    async def _deposited(self, accusation: _Accusation, file: Path) -> Bundle | None:
        """Its evidence, where others can fetch it; None if nobody keeps it."""
        async with self._speaking:
            try:
                data = await asyncio.to_thread(file.read_bytes)
            except OSError as error:
                logger.warning("peer %s is not accused: its evidence cannot be read: %s", accusation.accused, error)
                return None
            digest = await asyncio.to_thread(lambda: hashlib.sha256(data).digest())
            await self._find_holders(accusation, data, digest)
        if not accusation.holders:
            logger.warning("nobody keeps the evidence against peer %s; it is not announced", accusation.accused)
            return None
        holder = accusation.holders.pop(0)
        accusation.holders.append(holder)
        return Bundle(digest, len(data), holder.endpoint)

    def _conviction(self, accused: str, kind: str, proof: bytes = b"", bundle: Bundle | None = None) -> Conviction:
        return Conviction(self._checkpoint.name, accused, self._identity.peer_id, kind, proof, bundle)

    async def _announce(self, conviction: Conviction) -> None:
        if not await self._table.directory.accuse(conviction, self._identity):
            logger.warning("the conviction of peer %s could not be announced", conviction.accused)

    async def _find_holders(self, accusation: _Accusation, data: bytes, digest: bytes) -> None:
        """Who keeps it already says so at once."""
        before, accusation.holders = [holder.peer_id for holder in accusation.holders], []
        asked = [peer for peer in self._table.listed() if self._may_hold(peer, accusation.accused)]
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
        return not self._table.is_failed(peer.peer_id) and not self._reputation.is_shunned(peer.peer_id)

    async def _deposit(self, peer: PeerInfo, data: bytes, digest: bytes) -> bool:
        try:
            await blobs.deposit(self._table.connection_to(peer), data, digest)
        except SwarmError as error:
            logger.info("peer %s does not keep evidence: %s", peer.peer_id, error)
            return False
        return True
