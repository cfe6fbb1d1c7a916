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
from swarm.model.identity import weights_root
from swarm.peers.convictions import Conviction
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.verify.audit.judgement import Judgement, Verdict
from swarm.verify.audit.judges import LocalJudge
from swarm.verify.fraud.evidence import Bundle, write_evidence
from swarm.verify.fraud.slashing import Slashing
from swarm.wire import blobs as blobs
from swarm.wire.blobs import MAX_PARCEL_BYTES
from swarm.wire.rate_limit import Allowance

logger = logging.getLogger(__name__)

EXAMINATIONS, PERIOD_S = 10, 3600.0


class FraudVerifier:
    """Of one client that has the model's files. Lives in one event loop."""

    def __init__(
        self,
        view: PeerTable,
        checkpoint: Checkpoint,
        judge: LocalJudge,
        digests: DigestCache,
        folder: Path,
        slashing: Slashing,
    ):
        """judge: for nothing else, so that this client's own audits need not wait for strangers'. digests: of the
        model's weights. folder: for evidence that convicts."""
        self._slashing = slashing
        self._view, self._checkpoint, self._judge = view, checkpoint, judge
        self._digests, self._folder = digests, folder
        self._allowance = Allowance(EXAMINATIONS, PERIOD_S)

    async def of(self, conviction: Conviction) -> bool | None:
        """Whether the evidence convicts the accused; None if that cannot be told here and now.

        Raises PeerUnreachable, PeerBusy, InvalidRequest if the evidence cannot be fetched, or is not about what this
        client has.
        """
        holder = self._holder(conviction)
        if holder is None or not self._is_used(conviction.accused) or not self._allowance.spend():
            return None
        connection, announced = self._view.connection_to(holder), conviction.bundle
        data = await blobs.withdraw(connection, announced.digest, announced.nbytes)
        try:
            bundle = await asyncio.to_thread(Bundle.decode, data)
        except InvalidRequest as error:
            logger.info("peer %s has announced what is no evidence: %s", conviction.announcer, error)
            return False
        if bundle.case.peer_id != conviction.accused:
            return False
        self._check_ours(bundle)
        judgement = await self._examine(bundle)
        logger.info("evidence of %s against %s: %s", conviction.announcer, conviction.accused, judgement.reason)
        if judgement.verdict == Verdict.FAIL:
            await asyncio.to_thread(write_evidence, self._folder, bundle, data)
            if judgement.convicts(self._judge.thresholds(bundle.case.terms), bundle.revision):
                self._slashing.of_evidence(bundle.case, bundle.accuser)
            return True
        return False if self._clears(bundle, judgement) else None

    def close(self) -> None:
        self._judge.close()

    def _holder(self, conviction: Conviction) -> PeerInfo | None:
        """One of the peers that this client knows of: nobody else can have it call at an address of his choice."""
        bundle = conviction.bundle
        if bundle.nbytes > MAX_PARCEL_BYTES:
            return None
        others = (peer for peer in self._view.listed() if peer.peer_id != conviction.accused)
        return next((peer for peer in others if peer.endpoint == bundle.holder), None)

    def _is_used(self, accused: str) -> bool:
        try:
            return any(peer.peer_id == accused for peer in self._view.usable())
        except (NoRoute, RevisionMismatch):
            return False

    def _check_ours(self, bundle: Bundle) -> None:
        """Raises InvalidRequest, RevisionMismatch if it is about something else than this client's model."""
        case, config = bundle.case, self._checkpoint.config
        if (bundle.model, bundle.revision) != (self._checkpoint.name, self._checkpoint.revision):
            raise RevisionMismatch(f"evidence about {bundle.model!r:.100} in revision {bundle.revision!r:.100}")
        if case.terms.stop > config.num_blocks or case.inputs.columns != config.hidden_size:
            raise InvalidRequest("evidence about blocks that this model does not have")
        if case.stop > config.max_context:
            raise InvalidRequest(f"evidence of {case.stop} tokens; the model takes {config.max_context}")

    async def _examine(self, bundle: Bundle) -> Judgement:
        terms = bundle.case.terms
        digests = await asyncio.to_thread(self._digests.digests, self._checkpoint, terms.start, terms.stop)
        try:
            return await self._judge.examine(bundle, weights_root(digests))
        except (RuntimeError, MemoryError) as error:  # torch's, where memory does not suffice
            raise InvalidRequest(f"this machine cannot recompute the evidence: {error}") from error

    def _clears(self, bundle: Bundle, judgement: Judgement) -> bool:
        """Whether this judgement makes the accusation a false one. Where the accused promised bits that this machine
        does not compute, its accuser may have seen what is too small for the tolerant test."""
        return judgement.verdict == Verdict.PASS and (judgement.method == "exact" or not bundle.case.terms.numerics_id)
