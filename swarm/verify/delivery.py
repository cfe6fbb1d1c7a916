"""Receipts of a generation's sessions, audits, and verification before delivery: text held until it is checked."""

from collections.abc import Callable

from swarm.errors import InvalidRequest
from swarm.generate.delivery import Delivery, Unverified
from swarm.generate.draft import Draft
from swarm.generate.options import VERIFY, GenerateOptions
from swarm.session.session import Session
from swarm.verify.audit.auditing import Auditing
from swarm.verify.audit.judging.judgement import SEGMENT, Verdict
from swarm.verify.receipts.observer import ReceiptObserver, SignedSession
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.peer_names import short_id

RECEIPTS, AUDIT, FULL = VERIFY


class CheckedDelivery(Delivery):
    """Of one generation, whose `verify` option says what has to be checked before text is delivered."""

    def __init__(
        self, draft: Draft, options: GenerateOptions, auditing: Auditing, keep: Callable[[SignedReceipt], None]
    ):
        """keep: is given every receipt that fits."""
        self._draft, self._auditing, self._keep = draft, auditing, keep
        self._mode, self._sensitive = options.verify, options.sensitive
        self._signed = ReceiptObserver()  # of the session of the moment
        self._held = ""
        self._since = 0  # tokens since the last check
        self._retired = 0  # hops of the session that were replaced before it
        if self._mode:
            draft.keep()

    def observe(self, prompt_tokens: int) -> ReceiptObserver:
        self._signed = ReceiptObserver(self._keep)
        return self._signed

    def begin(self, session: Session) -> None:
        """Raises InvalidRequest if nobody could recompute what the chain's hops do, and that is asked for."""
        if self._mode != FULL:
            return
        for hop in session.hops:
            if not self._auditing.can_audit(hop.peer, self._sensitive):
                raise InvalidRequest(
                    f"nobody can recompute what peer {short_id(hop.peer.peer_id)} does, as a full check needs: the "
                    "model's files are not on this machine, and other peers may not or could not do it bit by bit"
                )

    async def admit(self, session: Session, piece: str) -> str | None:
        if self._mode is None:
            return piece
        self._held += piece
        self._since += 1
        due = self._signed.is_sealed and (self._mode == RECEIPTS or self._since >= SEGMENT)
        if not (due or self._draft.finish_reason):
            return None
        await self._check(SignedSession(session, self._signed))
        self._retired = len(session.chain.retired)
        self._draft.generation.verified = len(self._draft.token_ids)
        self._draft.keep()
        self._since, held, self._held = 0, self._held, ""
        return held

    def rewind(self) -> None:
        """To the last token that was verified, if any are to be."""
        self._draft.rewind()
        self._held, self._since, self._retired = "", 0, 0

    async def finish(self, session: Session) -> None:
        signed = SignedSession(session, self._signed)
        await self._auditing.finish(signed, self._draft.generation, self._sensitive)

    async def _check(self, session: SignedSession) -> None:
        await session.session.finish()
        self._raise_faults(session)
        self._raise_gone(session)
        if self._mode == RECEIPTS:
            return
        rate = 1.0 if self._mode == FULL else None
        audits = await self._auditing.audit(session, self._draft.generation, rate, self._sensitive)
        self._raise_faults(session)
        self._raise_gone(session)
        limit = Verdict.PASS if self._mode == FULL else Verdict.SUSPECT
        wrong = {audit.peer_id for audit in audits if audit.verdict is not None and audit.verdict > limit}
        if wrong or (self._mode == FULL and any(audit.judgement is None for audit in audits)):
            raise Unverified(wrong)

    def _raise_faults(self, session: SignedSession) -> None:
        if faults := self._auditing.note_faults(session, self._draft.generation):
            raise Unverified({fault.peer_id for fault in faults})

    def _raise_gone(self, session: SignedSession) -> None:
        """Who left since the last check has not signed for all that it did, and cannot be audited any more."""
        gone = {stream.hop.peer.peer_id for stream in session.chain.streams if stream.failure}
        if gone or len(session.chain.retired) > self._retired:
            raise Unverified(gone)
