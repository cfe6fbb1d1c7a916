"""What follows from receipts and audits: standing, evidence, convictions that everybody hears of."""

import asyncio
import logging
from pathlib import Path

from swarm.errors import InvalidRequest
from swarm.model.checkpoint import Checkpoint
from swarm.peers.convictions import Conviction
from swarm.peers.table import PeerTable
from swarm.results import Audit
from swarm.verify.audit.case import Case
from swarm.verify.audit.judging.judgement import Judgement, Verdict
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.fraud.announcer import FraudAnnouncer
from swarm.verify.fraud.evidence import Bundle, write_evidence
from swarm.verify.fraud.inbox import FraudInbox
from swarm.verify.fraud.proofs import AUDIT, CONTRADICTION, EQUIVOCATION, Proof
from swarm.verify.fraud.slashing import Slashing
from swarm.verify.fraud.verifier import FraudVerifier
from swarm.verify.receipts.checking import Fault, FaultKind
from swarm.verify.reputation.standing import Event
from swarm.verify.reputation.store import ReputationStore
from swarm.wire.identity import Identity
from swarm.wire.tasks import TaskSet

logger = logging.getLogger(__name__)

_EVENTS = {
    Verdict.PASS: Event.AUDIT_PASSED,
    Verdict.SUSPECT: Event.AUDIT_SUSPECT,
    Verdict.FAIL: Event.AUDIT_FAILED,
}
_PROOFS = {FaultKind.EQUIVOCATION: EQUIVOCATION, FaultKind.CONTRADICTION: CONTRADICTION}  # by signatures alone
_WITNESSES = 2  # known to this client, without whom it does not believe a panel


class Penalties:
    """Of one client. Lives in one event loop."""

    def __init__(
        self,
        table: PeerTable,
        reputation: ReputationStore,
        checkpoint: Checkpoint,
        identity: Identity,
        folder: Path,
        verifier: FraudVerifier | None,
        slashing: Slashing | None = None,
    ):
        """identity: signs accusations. folder: for evidence. verifier: of others' evidence; None: by whoever has not
        the model's files. slashing: of the verifier, too; None: nothing is at stake."""
        self.reputation, self._table, self._slashing = reputation, table, slashing or Slashing()
        self._checkpoint, self._identity, self._folder = checkpoint, identity, folder
        self._announcer, self._verifier = FraudAnnouncer(table, reputation, checkpoint, identity), verifier
        self.inbox = FraudInbox(reputation, self.hear)
        self._tasks = TaskSet("fraud inbox")
        self._tasks.start(self.inbox.watch(table), "watching")
        self._tasks.start(self.inbox.work(), "checking")

    def of_audit(self, audit: Audit) -> None:
        if audit.verdict is not None:
            self.reputation.observe(audit.peer_id, _EVENTS[audit.verdict])
        log = logger.info if audit.verdict == Verdict.PASS else logger.warning
        log("audit of %s", audit)

    def of_fault(self, fault: Fault) -> None:
        logger.warning("%s", fault)
        self.reputation.observe(fault.peer_id, Event.FAULT)
        if fault.kind in _PROOFS:
            self.convict(Proof.of(_PROOFS[fault.kind], fault.evidence))

    def convict(self, proof: Proof) -> None:
        """Have nothing to do with a peer any more, and tell everybody why."""
        data = proof.encode()
        self.reputation.convict(proof.accused, proof.kind, data)
        logger.warning("peer %s is proven to cheat (%s) and is not used again", proof.accused, proof.kind)
        self._announcer.prove(proof)
        self._slashing.of_proof(proof, self._identity.peer_id)

    async def stand_by(self) -> int:
        """Announce, from now on, all that is proven against peers that are still listed, also what former clients of
        this user have proven; returns of how many."""
        listed = {peer.peer_id for peer in self._table.listed()}
        proven = await asyncio.to_thread(self.reputation.proofs)
        standing = [_proof(data) for accused, (_, data) in proven.items() if accused in listed]
        for proof in filter(None, standing):
            self._announcer.prove(proof)
            self._slashing.of_proof(proof, self._identity.peer_id)
        return sum(proof is not None for proof in standing)

    async def keep_evidence(self, case: Case, judgement: Judgement, sensitive: bool, thresholds: Thresholds) -> None:
        """Write down what may convict a peer; what does convict it goes to others, who tell everybody. But not if it is
        sensitive: activations leak the text.

        thresholds: by which it was judged. Unless they were measured on this very model, a tolerant audit that fails
        is held against the peer, but does not convict it.
        """
        bundle = Bundle(case, self._checkpoint.name, self._checkpoint.revision)
        data = await asyncio.to_thread(bundle.encode, self._identity)
        file = await asyncio.to_thread(write_evidence, self._folder, bundle, data)
        is_complete = case.outputs is not None or judgement.method == "exact"  # else it takes sketches, too
        if is_complete and judgement.convicts(thresholds, self._checkpoint.revision):
            self.reputation.convict(case.peer_id, AUDIT, bundle.digest)
            if case.terms.weights == self._table.weights.root(case.terms.start, case.terms.stop):
                self._slashing.of_evidence(case, self._identity.peer_id)
            if file and not sensitive:
                self._announcer.accuse(case.peer_id, file)

    async def close(self, grace_s: float) -> None:
        """Let accusations be announced that have just come up."""
        await self._tasks.close()
        await asyncio.gather(self._announcer.close(grace_s), self._slashing.close(grace_s))
        if self._verifier:
            self._verifier.close()

    async def hear(self, conviction: Conviction) -> bool | None:
        """`check`, and slash if it is true. What evidence convicts of, the verifier has slashed."""
        proven = await self.check(conviction)
        if proven and conviction.proof:
            self._slashing.of_proof(Proof.decode(conviction.proof), conviction.announcer)
        return proven

    async def check(self, conviction: Conviction) -> bool | None:
        """Whether what somebody announced is true; None if that rests on the word of peers that this client does not
        know, or on evidence that cannot be examined here. See swarm.verify.fraud.inbox."""
        if conviction.bundle and conviction.kind != AUDIT:
            return False
        if conviction.bundle:
            return await self._verifier.of(conviction) if self._verifier else None
        try:
            proof = Proof.decode(conviction.proof)
        except InvalidRequest:
            return False
        if (proof.accused, proof.kind) != (conviction.accused, conviction.kind):
            return False
        return True if self.believes(proof) else None

    def believes(self, proof: Proof) -> bool:
        """Whether a proof takes nobody's word, or that of enough peers that this client knows."""
        known = [witness for witness in proof.witnesses if self.reputation.standing(witness).passed > 0]
        return not proof.witnesses or len(known) >= _WITNESSES


def _proof(data: bytes) -> Proof | None:
    """None if a conviction rests on evidence too large for the directory, of which only the digest was kept."""
    try:
        return Proof.decode(data)
    except InvalidRequest:
        return None
