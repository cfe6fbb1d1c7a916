"""Evidence that others hold against a peer: fetched, and computed again with this client's own files.

Nobody's word is taken: what this client cannot recompute, it does not believe. Recomputing costs far more than
accusing, so it is done for few accusations an hour, one after the other, and only about peers that this client could
use.
"""

import asyncio
import logging
from pathlib import Path

from swarm.errors import InvalidRequest, NoRoute, RevisionMismatch
from swarm.model.checkpoint import Checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.peers.convictions import Conviction
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judges import LocalJudge
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.fraud.evidence import Bundle, write_evidence
from swarm.verify.fraud.examination import Finding, examine
from swarm.verify.fraud.slashing import Slashing
from swarm.wire import blobs
from swarm.wire.blobs import MAX_PARCEL_BYTES
from swarm.wire.rate_limit import Allowance

logger = logging.getLogger(__name__)

EXAMINATIONS, PERIOD_S = 10, 3600.0


class FraudVerifier:
    """Of one client that has the model's files. Lives in one event loop."""

    def __init__(
        self,
        table: PeerTable,
        checkpoint: Checkpoint,
        judge: LocalJudge,
        digests: DigestCache,
        folder: Path,
        slashing: Slashing,
    ):
        """judge: for nothing else, so that this client's own audits need not wait for strangers'. digests: of the
        model's weights. folder: for evidence that convicts."""
        self._slashing = slashing
        self._table, self._checkpoint, self._judge = table, checkpoint, judge
        self._digests, self._folder = digests, folder
        self._allowance = Allowance(EXAMINATIONS, PERIOD_S)

    async def of(self, conviction: Conviction) -> bool | None:
        """Whether its evidence convicts the accused; None if that cannot be told here and now, or there is none.

        Raises PeerUnreachable, PeerBusy, InvalidRequest if the evidence cannot be fetched, or is not about what this
        client has.
        """
        announced, holder = conviction.bundle, self._holder(conviction)
        if announced is None or holder is None or not self._is_used(conviction.accused) or not self._allowance.spend():
            return None
        data = await blobs.withdraw(self._table.connection_to(holder), announced.digest, announced.nbytes)
        try:
            bundle = await asyncio.to_thread(Bundle.decode, data)
        except InvalidRequest as error:
            logger.info("peer %s has announced what is no evidence: %s", conviction.announcer, error)
            return False
        if bundle.case.peer_id != conviction.accused:
            return False
        self._check_ours(bundle)
        finding = await self._judge.run(lambda expert: self._examine(bundle, expert))
        logger.info("evidence of %s against %s: %s", conviction.announcer, conviction.accused, finding.judgement.reason)
        if finding.judgement.verdict == Verdict.FAIL:
            await asyncio.to_thread(write_evidence, self._folder, bundle, data)
            if finding.convicts:
                self._slashing.of_evidence(bundle.case, bundle.accuser)
            return True
        return False if self._clears(finding) else None

    def close(self) -> None:
        self._judge.close()

    def _holder(self, conviction: Conviction) -> PeerInfo | None:
        """One of the peers that this client knows of: nobody else can have it call at an address of his choice."""
        bundle = conviction.bundle
        if bundle is None or bundle.nbytes > MAX_PARCEL_BYTES:
            return None
        others = (peer for peer in self._table.listed() if peer.peer_id != conviction.accused)
        return next((peer for peer in others if peer.endpoint == bundle.holder), None)

    def _is_used(self, accused: str) -> bool:
        try:
            return any(peer.peer_id == accused for peer in self._table.usable())
        except (NoRoute, RevisionMismatch):
            return False

    def _check_ours(self, bundle: Bundle) -> None:
        """Raises RevisionMismatch if it is about something else than this client's model."""
        if (bundle.model, bundle.revision) != (self._checkpoint.name, self._checkpoint.revision):
            raise RevisionMismatch(f"evidence about {bundle.model!r:.100} in revision {bundle.revision!r:.100}")

    def _examine(self, bundle: Bundle, expert: Expert) -> Finding:
        try:
            return examine(bundle, expert, self._digests)
        finally:
            expert.forget()  # what comes next is about another peer

    def _clears(self, finding: Finding) -> bool:
        """Whether this judgement makes the accusation a false one. Where the accused promised bits that this machine
        does not compute, its accuser may have seen what is too small for the tolerant test."""
        is_promised = bool(finding.bundle.case.terms.numerics_id)
        return finding.judgement.verdict == Verdict.PASS and (finding.judgement.method == "exact" or not is_promised)
