"""Who recomputes a hop's work: this client, if it has the model's files, or another peer that serves those blocks."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from swarm.errors import InvalidRequest, NoRoute, RevisionMismatch
from swarm.model.checkpoint import Checkpoint
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.hop import HopFailed
from swarm.session.limits import ClientLimits
from swarm.session.observers import HopObserver
from swarm.session.session import Session
from swarm.verify.audit.case import Case
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judging.judgement import Judgement
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.receipts.observer import ReceiptObserver
from swarm.wire import codec
from swarm.wire.formats.receipts import SignedReceipt, Terms
from swarm.wire.peer_names import short_id

Observe = Callable[[ReceiptObserver, int], HopObserver]  # (receipts, prompt tokens) -> a session's observer
_T = TypeVar("_T")


class LocalJudge:
    """An Expert at work in one thread of its own, for callers that live in an event loop."""

    def __init__(self, expert: Expert):
        self._expert = expert
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")

    async def has_numerics_of(self, receipt: SignedReceipt) -> bool:
        """See Expert."""
        return await self.run(lambda expert: expert.has_numerics_of(receipt.receipt.terms))

    async def judge(self, case: Case) -> Judgement:
        """See Expert. Raises ModelError, InvalidRequest for work that cannot be computed here."""
        return await self.run(lambda expert: expert.judge(case))

    async def run(self, work: Callable[[Expert], _T]) -> _T:
        """What `work` returns or raises, done in the thread after all that was asked for before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._expert)

    def thresholds(self, terms: Terms) -> Thresholds:
        """Those for the format that is audited. Raises InvalidRequest if their file makes no sense."""
        return self._expert.thresholds(terms)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class PeerJudges:
    """Other peers, each asked by an ordinary session of one hop, whose receipts are its signed result."""

    def __init__(
        self,
        table: PeerTable,
        checkpoint: Checkpoint,
        limits: ClientLimits,
        observe: Observe = lambda receipts, prompt_tokens: receipts,
        stake_of: Callable[[str], int] = lambda peer_id: 0,
    ):
        """observe: all that watches over a session, made around its receipts. stake_of: what a peer has at stake,
        nano-credits."""
        self._table, self._checkpoint, self._limits, self._observe = table, checkpoint, limits, observe
        self._stake_of = stake_of

    def for_work(self, accused: SignedReceipt) -> dict[str, PeerInfo]:
        """Those that promise the same bits, by peer id, without the one whose work it is."""
        terms = accused.receipt.terms
        try:
            usable = self._table.usable({accused.peer_id})
        except (NoRoute, RevisionMismatch):  # this client demands what none of the others has
            return {}
        return {
            peer.peer_id: peer
            for peer in usable
            if peer.numerics_id == terms.numerics_id != ""
            and peer.format == terms.format
            and peer.start <= terms.start < terms.stop <= peer.stop
        }

    def chances(self, peer_ids: Iterable[str]) -> dict[str, float]:
        """With which they are drawn to judge others: what they have at stake. Those that have nothing are drawn last,
        and alike where nobody has: fresh keys are for free."""
        return {peer_id: float(self._stake_of(peer_id) or 1) for peer_id in peer_ids}

    async def recompute(self, peer: PeerInfo, case: Case) -> Sequence[SignedReceipt]:
        """The receipts of `peer` for the same work, one for each of the case's. Raises HopFailed, InvalidRequest."""
        terms = case.terms
        hop = Hop(peer, terms.start, terms.stop)
        wire = codec.torch_dtype(terms.wire_dtype)
        signed = ReceiptObserver(seal_tokens=1)  # in the case's pieces, so that its receipts can be laid beside them
        observer = self._observe(signed, case.stop)
        session = Session([hop], [self._table.connection_to(peer)], self._options(case, wire), observer=observer)
        try:
            await session.open()
            x = case.inputs.tensor()
            for one in case.receipts:
                rows = x[one.receipt.position : one.receipt.stop_position]
                await session.forward(one.receipt.position, rows)
            await session.finish()
        finally:
            session.close()
        own = signed.receipts.all()
        if len(own) != len(case.receipts):
            raise HopFailed(InvalidRequest(f"peer {short_id(peer.peer_id)} did not sign for what it recomputed"), [])
        return own

    def _options(self, case: Case, wire: torch.dtype) -> SessionOptions:
        return SessionOptions(
            model=self._checkpoint.name,
            revision=self._checkpoint.revision,
            hidden_size=self._checkpoint.config.hidden_size,
            wire_dtype=wire,
            max_tokens=case.stop,
            open_timeout_s=self._limits.open_timeout_s,
            step_timeout_s=self._limits.step_timeout_s,
            weights=self._table.weights.root,
        )
