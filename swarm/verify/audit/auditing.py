"""What a client does about trust in its sessions: receipts at their end, and audits of a sample of the work."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.results import Audit, Generation
from swarm.route.peer import PeerInfo
from swarm.session.hop import HopStream
from swarm.verify.audit.examiner import Examiner
from swarm.verify.audit.sampling import is_chosen, segments
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.receipts.checking import Fault
from swarm.verify.receipts.observer import SignedSession
from swarm.verify.reputation.standing import Event
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.tasks import TaskSet

MAX_RUNNING = 16  # sessions whose audits are not done yet; with more, no others are begun, or wait if a rate is given
PEERS, LOCAL, OFF = "peers", "local", "off"  # who recomputes
AUDITORS = PEERS, LOCAL, OFF
NOT_DRAWN = "none drawn"  # each piece of work is, with the probability audit_rate
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
        self._running = TaskSet("an audit")

    async def finish(self, session: SignedSession, generation: Generation, sensitive: bool) -> None:
        """Get the receipts of a session at its end, close it, and audit what is chosen in the background.

        sensitive: its activations are shown to no peer that has not computed on them.
        """
        await session.session.finish()
        receipts = session.signed.receipts.all()
        generation.receipts += receipts
        for signed in receipts:
            self._reputation.observe(signed.peer_id, Event.GOOD)
        self.note_faults(session, generation)
        chosen, generation.unaudited = await self._draw(session, sensitive)
        if chosen:
            self._running.start(self._audit_and_close(session, chosen, generation, not sensitive))
        else:
            session.session.close()

    async def audit(
        self, session: SignedSession, generation: Generation, rate: float | None, sensitive: bool
    ) -> list[Audit]:
        """Audit the segments of an open session that were not looked at yet, each with probability `rate` (None: by its
        peer's standing), and wait for the outcome."""
        return await self._audit(session, self._choose(session, rate), generation, not sensitive, by_us=True)

    def note_faults(self, session: SignedSession, generation: Generation) -> list[Fault]:
        """Remember what is wrong with a session's receipts, as far as it is new; returns it."""
        new = session.signed.receipts.new_faults()
        generation.faults += new
        for fault in new:
            self._penalties.of_fault(fault)
        return new

    def can_audit(self, peer: PeerInfo, sensitive: bool) -> bool:
        """Whether somebody may be able to recompute what this peer does."""
        return self._examiner.local is not None or bool(peer.numerics_id and not sensitive)

    async def idle(self) -> None:
        """Wait until no audits are under way."""
        await self._running.idle()

    async def close(self, grace_s: float) -> None:
        """Let audits that are under way end."""
        await self._running.close(grace_s)
        await self._penalties.close(grace_s)
        if self._examiner.local:
            self._examiner.local.close()

    async def _draw(self, session: SignedSession, sensitive: bool) -> tuple[_Chosen, str]:
        """What is audited of a session at its end; or nothing, and why."""
        if self._options.by == OFF:
            return [], "they are off"
        if self._options.rate is not None:  # whoever says how much, is not to get less
            while len(self._running) >= MAX_RUNNING:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        elif len(self._running) >= MAX_RUNNING:
            return [], "too many are under way"
        chosen, none = self._choose(session, None), NOT_DRAWN
        if self._options.rate is None:  # by themselves, audits are not begun that come to nothing
            reasons = [self._examiner.hindrance(one[0], not sensitive, self._by_us) for _, one in chosen]
            none = next(filter(None, reasons), NOT_DRAWN)
            chosen = [one for one, reason in zip(chosen, reasons, strict=True) if not reason]
        return chosen, "" if chosen else none

    @property
    def _by_us(self) -> bool:
        """Whether this client takes the time to recompute, without being waited for."""
        return self._options.by == LOCAL

    def _choose(self, session: SignedSession, rate: float | None) -> _Chosen:
        chosen: list[tuple[HopStream, list[SignedReceipt]]] = []
        for stream in session.chain.streams:
            if stream.failure:
                continue
            hop, wanted = session.signed.of(stream), rate
            if wanted is None:
                wanted = self._reputation.audit_rate(hop.peer_id) if self._options.rate is None else self._options.rate
            for segment in segments(hop.receipts[hop.considered :], final=True):
                hop.considered += len(segment)
                if is_chosen(self._nonce, segment, wanted):
                    chosen.append((stream, segment))
        return chosen

    async def _audit(
        self, session: SignedSession, chosen: _Chosen, generation: Generation, by_peers: bool, by_us: bool
    ) -> list[Audit]:
        examine = self._examiner.examine
        audits = [await examine(session, stream, segment, by_peers, by_us) for stream, segment in chosen]
        generation.audits += audits
        return audits

    async def _audit_and_close(
        self, session: SignedSession, chosen: _Chosen, generation: Generation, by_peers: bool
    ) -> None:
        try:
            await self._audit(session, chosen, generation, by_peers, by_us=self._by_us)
        finally:
            session.session.close()
            self.note_faults(session, generation)
