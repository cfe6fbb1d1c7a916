"""What a client does about trust in its sessions: receipts at their end, and audits of a sample of the work."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

from swarm.errors import SwarmError
from swarm.results import Audit, Generation
from swarm.route.peer import PeerInfo
from swarm.session.hop import HopStream
from swarm.session.session import Session
from swarm.verify.audit.examiner import Examiner
from swarm.verify.audit.sampling import is_chosen, segments
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.receipts.checking import Fault
from swarm.verify.reputation.standing import Event
from swarm.wire.formats.receipts import SignedReceipt

logger = logging.getLogger(__name__)

MAX_RUNNING = 16  # sessions whose audits are not done yet; with more, no others are begun
PEERS, LOCAL, OFF = "peers", "local", "off"  # who recomputes
AUDITORS = PEERS, LOCAL, OFF
_Chosen = Sequence[tuple[HopStream, list[SignedReceipt]]]


@dataclass(frozen=True)
class AuditOptions:
    """by: who recomputes, one of AUDITORS. rate: share of the segments; None: by each peer's standing."""

    by: str = "peers"
    rate: float | None = None


class Auditing:
    """Of one client. Lives in one event loop."""

    def __init__(self, examiner: Examiner, penalties: Penalties, options: AuditOptions):
        self._examiner, self._penalties, self._options = examiner, penalties, options
        self._reputation = penalties.reputation
        self._nonce = os.urandom(32)
        self._running: set[asyncio.Task] = set()

    async def finish(self, session: Session, generation: Generation, sensitive: bool) -> None:
        """Get the receipts of a session at its end, close it, and audit what is chosen in the background.

        sensitive: its activations are shown to no peer that has not computed on them.
        """
        await session.settle()
        generation.receipts += session.receipts.all()
        for signed in session.receipts.all():
            self._reputation.observe(signed.peer_id, Event.GOOD)
        self.note_faults(session, generation)
        is_on = self._options.by != "off" and len(self._running) < MAX_RUNNING
        chosen = self._choose(session, None) if is_on else []
        if chosen:
            self._start(self._audit_and_close(session, chosen, generation, not sensitive))
        else:
            session.close()

    async def audit(self, session: Session, generation: Generation, rate: float | None, sensitive: bool) -> list[Audit]:
        """Audit the segments of an open session that were not looked at yet, each with probability `rate` (None: by its
        peer's standing), and wait for the outcome."""
        return await self._audit(session, self._choose(session, rate), generation, not sensitive, by_us=True)

    def note_faults(self, session: Session, generation: Generation) -> list[Fault]:
        """Remember what is wrong with a session's receipts, as far as it is new; returns it."""
        new = session.receipts.new_faults()
        generation.faults += new
        for fault in new:
            self._penalties.of_fault(fault)
        return new

    def can_audit(self, peer: PeerInfo, sensitive: bool) -> bool:
        """Whether somebody may be able to recompute what this peer does."""
        return self._examiner.local is not None or bool(peer.numerics_id and not sensitive)

    async def idle(self) -> None:
        """Wait until no audits are under way."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def close(self, grace_s: float) -> None:
        """Let audits that are under way end."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        for task in self._running:
            task.cancel()
        await self._penalties.close(grace_s)
        if self._examiner.local:
            self._examiner.local.close()

    def _choose(self, session: Session, rate: float | None) -> _Chosen:
        chosen = []
        for stream in session.chain.streams:
            if stream.failure:
                continue
            hop, wanted = stream.receipts, rate
            if wanted is None:
                wanted = self._reputation.audit_rate(hop.peer_id) if self._options.rate is None else self._options.rate
            for segment in segments(hop.receipts[hop.considered :], final=True):
                hop.considered += len(segment)
                if is_chosen(self._nonce, segment, wanted):
                    chosen.append((stream, segment))
        return chosen

    async def _audit(
        self, session: Session, chosen: _Chosen, generation: Generation, by_peers: bool, by_us: bool
    ) -> list[Audit]:
        examine = self._examiner.examine
        audits = [await examine(session, stream, segment, by_peers, by_us) for stream, segment in chosen]
        generation.audits += audits
        return audits

    async def _audit_and_close(self, session: Session, chosen: _Chosen, generation: Generation, by_peers: bool) -> None:
        try:
            await self._audit(session, chosen, generation, by_peers, by_us=self._options.by == "local")
        finally:
            session.close()
            self.note_faults(session, generation)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        async def run() -> None:
            try:
                await work
            except SwarmError as error:
                logger.warning("an audit ended early: %s", error)

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
