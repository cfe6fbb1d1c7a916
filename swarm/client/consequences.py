"""What follows from receipts and audits: standing, evidence, convictions that everybody hears of."""

import asyncio
import logging
from pathlib import Path

from swarm.client.generation import Audit
from swarm.client.view import SwarmView
from swarm.errors import InvalidRequest
from swarm.model.checkpoint import Checkpoint
from swarm.route.convictions import Conviction
from swarm.trust.audit import Verdict
from swarm.trust.case import Case
from swarm.trust.checking import Fault, FaultKind
from swarm.trust.evidence import Bundle
from swarm.trust.proofs import CONTRADICTION, EQUIVOCATION, Proof
from swarm.trust.reputation import Event
from swarm.wire.identity import Identity

logger = logging.getLogger(__name__)

_EVENTS = {
    Verdict.PASS: Event.AUDIT_PASSED,
    Verdict.SUSPECT: Event.AUDIT_SUSPECT,
    Verdict.FAIL: Event.AUDIT_FAILED,
}
_PROOFS = {FaultKind.EQUIVOCATION: EQUIVOCATION, FaultKind.CONTRADICTION: CONTRADICTION}  # by signatures alone
_WITNESSES = 2  # known to this client, without whom it does not believe a panel


class Consequences:
    """Of one client. Lives in one event loop."""

    def __init__(self, view: SwarmView, checkpoint: Checkpoint, identity: Identity, folder: Path):
        """identity: signs accusations. folder: for evidence."""
        self.book, self._view = view.book, view
        self._checkpoint, self._identity, self._folder = checkpoint, identity, folder
        view.docket.check = self.check

    def of_audit(self, audit: Audit) -> None:
        self.book.observe(audit.peer_id, _EVENTS[audit.judgement.verdict])
        log = logger.info if audit.verdict == Verdict.PASS else logger.warning
        log("audit of %s", audit)

    async def of_fault(self, fault: Fault) -> None:
        logger.warning("%s", fault)
        self.book.observe(fault.peer_id, Event.FAULT)
        if fault.kind in _PROOFS:
            await self.convict(Proof.of(_PROOFS[fault.kind], fault.evidence))

    async def convict(self, proof: Proof) -> None:
        """Have nothing to do with a peer any more, and tell everybody why."""
        data = proof.encode()
        self.book.convict(proof.accused, proof.kind, data)
        logger.warning("peer %s is proven to cheat (%s) and is not used again", proof.accused, proof.kind)
        await self._announce(proof.accused, proof.kind, data)

    async def repeat(self) -> int:
        """Announce again what is proven against peers that are still listed, for announcements are short-lived; returns
        of how many."""
        listed = {peer.peer_id for peer in self._view.listed()}
        proofs = await asyncio.to_thread(self.book.proofs)
        repeated = 0
        for accused, (kind, data) in proofs.items():
            if accused in listed and _is_proof(data):
                await self._announce(accused, kind, data)
                repeated += 1
        return repeated

    async def _announce(self, accused: str, kind: str, proof: bytes) -> None:
        conviction = Conviction(self._checkpoint.name, accused, self._identity.peer_id, kind, proof)
        await self._view.announce(conviction, self._identity)

    def keep_evidence(self, case: Case) -> None:
        """Write down what may convict a peer, for `python -m swarm evidence`."""
        bundle = Bundle(case, self._checkpoint.name, self._checkpoint.revision)
        path = self._folder / f"{case.peer_id[-8:]}-{bundle.digest.hex()[:12]}.evidence"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bundle.encode(self._identity))
        logger.warning("peer %s may not have computed what it announced; evidence: %s", case.peer_id, path)

    async def check(self, conviction: Conviction) -> bool | None:
        """Whether what somebody announced is true; None if that rests on the word of peers that this client does not
        know. See swarm.client.docket."""
        try:
            proof = Proof.decode(conviction.proof)
        except InvalidRequest:
            return False
        if (proof.accused, proof.kind) != (conviction.accused, conviction.kind):
            return False
        known = [witness for witness in proof.witnesses if self.book.standing(witness).passed > 0]
        return True if not proof.witnesses or len(known) >= _WITNESSES else None


def _is_proof(data: bytes) -> bool:
    """Not if a conviction rests on evidence too large for the directory, of which only the digest was kept."""
    try:
        Proof.decode(data)
    except InvalidRequest:
        return False
    return True
