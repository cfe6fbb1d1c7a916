"""Who recomputes a hop's work: this client, if it has the model's files, or another peer that serves those blocks."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from swarm.errors import InvalidRequest, NoRoute, RevisionMismatch
from swarm.market.channel.wallet import Wallet
from swarm.model.checkpoint import Checkpoint
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.hop import HopFailed
from swarm.session.limits import ClientLimits
from swarm.session.session import Session
from swarm.verify.audit.calibration import load_thresholds
from swarm.verify.audit.case import Case, judge_case, parse_format
from swarm.verify.audit.judgement import Judgement
from swarm.verify.audit.reexecution import Reexecutor
from swarm.verify.audit.thresholds import Thresholds
from swarm.verify.fraud.evidence import Bundle, examine
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import SignedReceipt, Terms

_Key = tuple[int, int, str]  # blocks, format


class LocalJudge:
    """Recomputes in one thread, with the weights of one range of blocks at a time."""

    def __init__(self, checkpoint: Checkpoint, thresholds: Path):
        """thresholds: the folder of calibrations."""
        self._checkpoint, self._thresholds = checkpoint, thresholds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._loaded: tuple[_Key, Reexecutor] | None = None

    async def has_numerics_of(self, receipt: SignedReceipt) -> bool:
        """Whether this machine computes the very bits that the receipt promises: then no outputs are needed."""
        return await self._run(self._has_numerics_of, receipt)

    async def judge(self, case: Case) -> Judgement:
        """Raises InvalidRequest for a format that cannot be audited here."""
        return await self._run(self._judge, case)

    async def examine(self, bundle: Bundle, weights: bytes) -> Judgement:
        """See swarm.verify.fraud.evidence. Raises InvalidRequest, RevisionMismatch."""
        return await self._run(self._examine, bundle, weights)

    def thresholds(self, terms: Terms) -> Thresholds:
        """Those for the format that is audited. Raises InvalidRequest if their file makes no sense."""
        return load_thresholds(self._thresholds, self._checkpoint.revision, *parse_format(terms))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: object, *arguments: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _has_numerics_of(self, receipt: SignedReceipt) -> bool:
        terms = receipt.receipt.terms
        return bool(terms.numerics_id) and terms.numerics_id == self._reexecutor(receipt).numerics_id

    def _judge(self, case: Case) -> Judgement:
        return judge_case(case, self._reexecutor(case.receipts[0]), self.thresholds(case.terms))

    def _examine(self, bundle: Bundle, weights: bytes) -> Judgement:
        case = bundle.case
        try:
            return examine(bundle, weights, self._reexecutor(case.receipts[0]), self.thresholds(case.terms))
        finally:
            self._loaded = None  # what comes next is about another peer

    def _reexecutor(self, receipt: SignedReceipt) -> Reexecutor:
        terms = receipt.receipt.terms
        key = terms.start, terms.stop, terms.format
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before the next is loaded
            self._loaded = key, Reexecutor(self._checkpoint, terms.start, terms.stop, *parse_format(terms))
        return self._loaded[1]


class PeerJudges:
    """Other peers, each asked by an ordinary session of one hop, whose receipts are its signed result."""

    def __init__(
        self,
        view: PeerTable,
        checkpoint: Checkpoint,
        limits: ClientLimits,
        wallet: Wallet | None = None,
        stake_of: Callable[[str], int] = lambda peer_id: 0,
    ):
        """stake_of: what a peer has at stake, nano-credits."""
        self._view, self._checkpoint, self._limits, self._wallet = view, checkpoint, limits, wallet
        self._stake_of = stake_of

    def for_work(self, accused: SignedReceipt) -> dict[str, PeerInfo]:
        """Those that promise the same bits, by peer id, without the one whose work it is."""
        terms = accused.receipt.terms
        try:
            usable = self._view.usable({accused.peer_id})
        except (NoRoute, RevisionMismatch):  # this client demands what none of the others has
            return {}
        return {
            peer.peer_id: peer
            for peer in usable
            if peer.numerics_id == terms.numerics_id != ""
            and peer.format == terms.format
            and peer.start <= terms.start < terms.stop <= peer.stop
        }

    def weights(self, peer_ids: Iterable[str]) -> dict[str, float]:
        """With which they are drawn to judge others: what they have at stake. Those that have nothing are drawn last,
        and alike where nobody has: fresh keys are for free."""
        return {peer_id: float(self._stake_of(peer_id) or 1) for peer_id in peer_ids}

    async def recompute(self, peer: PeerInfo, case: Case) -> Sequence[SignedReceipt]:
        """The receipts of `peer` for the same work, one for each of the case's. Raises HopFailed, InvalidRequest."""
        terms = case.terms
        hop = Hop(peer, terms.start, terms.stop)
        wire = codec.torch_dtype(terms.wire_dtype)
        session = Session([hop], [self._view.connection_to(peer)], self._options(case, wire))
        try:
            await session.open()
            x = case.inputs.tensor()
            for one in case.receipts:  # in the same pieces, so that its receipts can be laid beside them
                rows = x[one.receipt.position : one.receipt.stop_position]
                await session.forward(one.receipt.position, rows, pb.LAST, seal=True)
            await session.settle()
        finally:
            session.close()
        own = session.receipts.all()
        if len(own) != len(case.receipts):
            raise HopFailed(InvalidRequest(f"peer {peer.peer_id[-8:]} did not sign for what it recomputed"), [])
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
            weights=self._view.weights.root,
            wallet=self._wallet,
            prompt_tokens=case.stop,
        )
