"""One audit from beginning to end: the evidence, who recomputes it, and who decides if they disagree."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from swarm.errors import SwarmError
from swarm.results import Audit
from swarm.route.peer import PeerInfo
from swarm.session.hop import HopFailed, HopStream
from swarm.verify.audit.case import Case
from swarm.verify.audit.gathering import fetch_rows, gather_case
from swarm.verify.audit.judges import LocalJudge, PeerJudges
from swarm.verify.audit.judging.accumulated import Accumulated
from swarm.verify.audit.judging.judgement import Judgement, Verdict, accumulate
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.audit.panel import draw_panel
from swarm.verify.fraud import proofs
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.receipts.observer import SignedSession
from swarm.verify.reputation.standing import Event
from swarm.wire.formats.receipts import SignedReceipt

logger = logging.getLogger(__name__)

NOBODY, LOCAL = "nobody", "local"


class Examiner:
    """Of one client. Lives in one event loop."""

    def __init__(self, judges: PeerJudges, local: LocalJudge | None, penalties: Penalties, prefers_local: bool):
        """local: None if the model's files are not on this machine. prefers_local: before other peers."""
        self._judges, self.local, self._penalties = judges, local, penalties
        self._prefers_local = prefers_local
        self._reputation = penalties.reputation

    def hindrance(self, accused: SignedReceipt, by_peers: bool, by_us: bool) -> str:
        """Why nobody is there who could recompute this; empty: somebody may. The rest as in `examine`."""
        if (by_us and self.local) or (by_peers and self._judges.for_work(accused)):
            return ""
        return _nobody(accused, by_peers)

    async def examine(
        self, session: SignedSession, stream: HopStream, segment: Sequence[SignedReceipt], by_peers: bool, by_us: bool
    ) -> Audit:
        """Have one segment of a hop's work recomputed, and draw the consequences. The session must be open.

        by_peers: others may see its activations. by_us: this client may take the time and the memory.
        """
        peers = self._judges.for_work(segment[0]) if by_peers else {}
        judge = self.local if by_us else None
        by, judgement, why_none = NOBODY, None, ""
        try:
            if peers and not (judge and self._prefers_local):
                by, judgement = await self._ask_peers(session, stream, segment, peers)
            elif judge:
                by, judgement = LOCAL, await self._judge_here(judge, session, stream, segment, not by_peers)
            else:
                why_none = self.hindrance(segment[0], by_peers, by_us)
        except SwarmError as error:
            why_none = str(error)
            logger.info("an audit of peer %s came to nothing: %s", stream.hop.peer.peer_id, error)
        first = segment[0].receipt.position
        count = segment[-1].receipt.stop_position - first
        blocks = stream.hop.start, stream.hop.stop
        audit = Audit(stream.hop.peer.peer_id, blocks, first, count, by, judgement, why_none)
        if judgement:
            self._penalties.of_audit(audit)
        return audit

    # --- here --------------------------------------------------------------------------------------------------------

    async def _judge_here(
        self,
        judge: LocalJudge,
        session: SignedSession,
        stream: HopStream,
        segment: Sequence[SignedReceipt],
        sensitive: bool,
    ) -> Judgement:
        """By the bits, or by the sketches; where these leave a doubt, by the outputs themselves. Raises SwarmError."""
        exact = await judge.has_numerics_of(segment[0])
        case = await _gathered(session, stream, segment, sketches=not exact)
        return await self._judge_case(judge, session, stream, case, sensitive)

    async def _judge_case(
        self, judge: LocalJudge, session: SignedSession, stream: HopStream, case: Case, sensitive: bool
    ) -> Judgement:
        judgement, thresholds = await judge.judge(case), judge.thresholds(case.terms)
        if judgement.verdict != Verdict.PASS:
            outputs = await fetch_rows(session, stream, case.first, case.stop)
            if outputs is not None:
                case = replace(case, outputs=outputs)
                judgement = await judge.judge(case)
            await self._penalties.keep_evidence(case, judgement, sensitive, thresholds)
        return self._accumulated(case, judgement, thresholds)

    def _accumulated(self, case: Case, judgement: Judgement, thresholds: Thresholds) -> Judgement:
        """`judgement`, or a conviction if this peer was a little off too often."""
        state = Accumulated.decode(self._reputation.statistic(case.peer_id))
        state = accumulate(state, judgement, thresholds)
        self._reputation.keep_statistic(case.peer_id, state.encode())
        if state.convicts and judgement.verdict == Verdict.SUSPECT:
            return replace(judgement, verdict=Verdict.FAIL, reason=f"{judgement.reason}; {state}")
        return judgement

    # --- by others ---------------------------------------------------------------------------------------------------

    async def _ask_peers(
        self, session: SignedSession, stream: HopStream, segment: Sequence[SignedReceipt], peers: dict[str, PeerInfo]
    ) -> tuple[str, Judgement]:
        """Who recomputed it, and what came out; a panel of others decides what they disagree on. Raises SwarmError."""
        case = await _gathered(session, stream, segment, sketches=False)
        for peer_id in draw_panel(segment[-1].receipt.hash, self._judges.chances(peers), len(peers)):
            if own := await self._recompute(peers[peer_id], case):
                break
        else:
            raise SwarmError(f"none of the peers that could recompute it did ({len(peers)} asked)")
        tokens = case.stop - case.first
        pairs = [pair for pair in zip(case.receipts, own, strict=True) if pair[0].receipt.position >= case.first]
        differing = [(theirs, ours) for theirs, ours in pairs if theirs.receipt.outputs != ours.receipt.outputs]
        if not differing:
            return peer_id, Judgement(Verdict.PASS, "exact", 0.0, f"all {tokens} tokens have the same bits")
        others = {key: peers[key] for key in peers if key != peer_id}
        return await self._dispute(session, stream, case, differing, others)

    async def _dispute(
        self,
        session: SignedSession,
        stream: HopStream,
        case: Case,
        differing: Sequence[tuple[SignedReceipt, SignedReceipt]],
        others: dict[str, PeerInfo],
    ) -> tuple[str, Judgement]:
        """An auditor's receipts are not the accused's. This client believes its own computation, if it has the bits;
        else a panel of `others`; else its own tolerance."""
        auditor_id = differing[0][1].peer_id
        if self.local and await self.local.has_numerics_of(differing[0][0]):
            judgement = await self._judge_case(self.local, session, stream, case, sensitive=False)
            liar = auditor_id if judgement.verdict == Verdict.PASS else case.peer_id
            if liar == auditor_id:
                self._reputation.observe(liar, Event.AUDIT_FAILED)
            await self._decide(case, differing[0], others, liar)
            return LOCAL, judgement
        decided = await self._decide(case, differing[0], others)
        if decided is None and self.local:
            return LOCAL, await self._judge_here(self.local, session, stream, case.segment, sensitive=False)
        if decided is None:
            self._reputation.observe(auditor_id, Event.AUDIT_SUSPECT)  # it may as well be the auditor
            decided = Verdict.SUSPECT, "another peer gets other bits, and nobody else is there to decide it"
        wrong = sum(theirs.count for theirs, _ in differing)
        return auditor_id, Judgement(decided[0], "exact", float(wrong), decided[1])

    async def _decide(
        self,
        case: Case,
        dispute: tuple[SignedReceipt, SignedReceipt],
        others: dict[str, PeerInfo],
        liar: str | None = None,
    ) -> tuple[Verdict, str] | None:
        """Let a panel of `others` decide between the accused's receipt and the auditor's; None if they cannot.

        liar: who is wrong by this client's own computation, for which the panel only gives the proof that others can
        read. Without, it decides; but fresh keys are for free, and a majority of peers of which nothing is known
        convicts nobody for good.
        """
        accused, auditor = dispute
        seats = draw_panel(accused.receipt.hash, self._judges.chances(others), proofs.PANEL)
        answers = await asyncio.gather(*(self._recompute(others[peer_id], case) for peer_id in seats))
        index = case.receipts.index(accused)
        found = proofs.outvoted([accused, auditor, *(answer[index] for answer in answers if answer)])
        for proof in found:
            if proof.accused == liar or (liar is None and self._penalties.believes(proof)):
                self._penalties.convict(proof)
            elif liar is None and proof.accused != accused.peer_id:
                self._reputation.observe(proof.accused, Event.AUDIT_FAILED)
        if not found:
            return None
        if accused.peer_id in {proof.accused for proof in found}:
            return Verdict.FAIL, f"a panel of {len(seats)} gets the auditor's bits, and not these"
        return Verdict.PASS, f"a panel of {len(seats)} gets these bits, and not the auditor's"

    async def _recompute(self, peer: PeerInfo, case: Case) -> Sequence[SignedReceipt] | None:
        try:
            own = await self._judges.recompute(peer, case)
        except HopFailed as failure:
            logger.info("peer %s did not recompute: %s", peer.peer_id, failure)
            return None
        if not all(proofs.is_same_work(ours, theirs) for ours, theirs in zip(own, case.receipts, strict=True)):
            self._reputation.observe(peer.peer_id, Event.FAULT)  # it announced these numerics
            return None
        return own


async def _gathered(
    session: SignedSession, stream: HopStream, segment: Sequence[SignedReceipt], sketches: bool
) -> Case:
    """Raises SwarmError if there is no evidence to go by."""
    case = await gather_case(session, stream, segment, sketches)
    if case is None:
        raise SwarmError("not all that it takes was handed out; the faults say by whom")
    return case


def _nobody(accused: SignedReceipt, by_peers: bool) -> str:
    """Why nobody was there who could recompute it."""
    terms, alone = accused.receipt.terms, 'a client with audit="local" recomputes'
    if not by_peers:
        return "sensitive work is shown to no further peer, and this client has not the model's blocks or was not asked"
    if not terms.numerics_id:
        return f"no other peer promises the bits of {terms.format}; {alone}"
    return f"no other peer serves blocks {terms.start}:{terms.stop} in the same numerics; {alone}"
