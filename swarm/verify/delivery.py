"""Verification before delivery: text is held back until the work behind it was checked."""

from swarm.errors import InvalidRequest
from swarm.generate.options import VERIFY
from swarm.generate.sampling import Sampler
from swarm.generate.text import TextStream
from swarm.results import Generation
from swarm.session.session import Session
from swarm.verify.audit.auditing import Auditing
from swarm.verify.audit.judgement import SEGMENT, Verdict

RECEIPTS, AUDIT, FULL = VERIFY


class Unverified(Exception):
    """What was generated since the last check cannot be vouched for. peer_ids: who is to blame; nobody, perhaps."""

    def __init__(self, peer_ids: set[str]):
        super().__init__(f"not verified, because of {', '.join(sorted(peer_ids)) or 'nobody'}")
        self.peer_ids = peer_ids


class Gate:
    """Between one generation's tokens and whoever waits for its text.

    The sampler and the text stream are here, because a failed check takes them back to where the last good one was.
    """

    def __init__(
        self,
        generation: Generation,
        sampler: Sampler,
        text: TextStream,
        mode: str | None,
        auditing: Auditing,
        sensitive: bool,
    ):
        """mode: one of VERIFY, or None: everything passes at once."""
        self._generation, self.sampler, self.text = generation, sampler, text
        self._mode, self._auditing, self._sensitive = mode, auditing, sensitive
        self._held = ""
        self._since = 0  # tokens since the last check
        self._retired = 0  # hops of the session that were replaced before it
        self._good = sampler.copy(), text.copy()

    def check_auditable(self, session: Session) -> None:
        """Raises InvalidRequest if nobody could recompute what the chain's hops do, and that is asked for."""
        if self._mode != FULL:
            return
        for hop in session.hops:
            if not self._auditing.can_audit(hop.peer, self._sensitive):
                raise InvalidRequest(
                    f"nobody can recompute what peer {hop.peer.peer_id[-8:]} does, as verify='full' needs: the model's "
                    "files are not on this machine, and other peers may not or could not do it bit by bit"
                )

    async def admit(self, session: Session, piece: str) -> str:
        """Text that may be delivered, after one more token that brought `piece`. Raises Unverified."""
        if self._mode is None:
            return piece
        self._held += piece
        self._since += 1
        final = bool(self._generation.finish_reason)
        if not final and not (session.is_sealed and (self._mode == RECEIPTS or self._since >= SEGMENT)):
            return ""
        await self._check(session)
        self._retired = len(session.chain.retired)
        self._generation.verified = len(self._generation.token_ids)
        self._good = self.sampler.copy(), self.text.copy()
        self._since, held, self._held = 0, self._held, ""
        return held

    def rewind(self) -> None:
        """Back to the last token that was verified, if any are."""
        if self._mode is None:
            return
        generation = self._generation
        self.sampler, self.text = (good.copy() for good in self._good)
        del generation.token_ids[generation.verified :]
        del generation.step_latencies_s[max(generation.verified - 1, 0) :]
        generation.text, generation.finish_reason = self.text.text, ""
        self._held, self._since, self._retired = "", 0, 0

    async def _check(self, session: Session) -> None:
        await session.settle()
        self._raise_faults(session)
        self._raise_gone(session)
        if self._mode == RECEIPTS:
            return
        rate = 1.0 if self._mode == FULL else None
        audits = await self._auditing.audit(session, self._generation, rate, self._sensitive)
        self._raise_faults(session)
        self._raise_gone(session)
        limit = Verdict.PASS if self._mode == FULL else Verdict.SUSPECT
        wrong = {audit.peer_id for audit in audits if audit.judgement and audit.verdict > limit}
        if wrong or (self._mode == FULL and any(audit.judgement is None for audit in audits)):
            raise Unverified(wrong)

    def _raise_faults(self, session: Session) -> None:
        if faults := self._auditing.note_faults(session, self._generation):
            raise Unverified({fault.peer_id for fault in faults})

    def _raise_gone(self, session: Session) -> None:
        """Who left since the last check has not signed for all that it did, and cannot be audited any more."""
        gone = {stream.hop.peer.peer_id for stream in session.chain.streams if stream.failure}
        if gone or len(session.chain.retired) > self._retired:
            raise Unverified(gone)
