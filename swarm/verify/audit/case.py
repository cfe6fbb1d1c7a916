"""One segment of one hop's work, with all that it takes to judge it, checked against what the hop signed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from swarm.errors import InvalidRequest
from swarm.verify.audit.judging.judgement import Judgement, Recomputes, Verdict, judge, judge_sketches
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.receipts.sketch import Sketch, parse_sketch
from swarm.wire import codec
from swarm.wire.codec import Rows
from swarm.wire.formats.merkle import merkle_root
from swarm.wire.formats.receipts import SignedReceipt, Terms, sketch_hash
from swarm_kernels import QUANTS


@dataclass(frozen=True)
class Case:
    """Nothing in it disagrees with the hop's signatures: `__post_init__` raises InvalidRequest otherwise.

    receipts: of one hop and opening, from the first on, over positions 0 to `stop` without gap or overlap
    first:    where the segment begins that is to be judged; it ends with the last receipt
    inputs:   of all positions
    outputs:  of the segment, if they are there; exact audits do without
    sketches: of the segment's receipts, if they are there
    """

    receipts: tuple[SignedReceipt, ...]
    first: int
    inputs: Rows
    outputs: Rows | None = None
    sketches: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        _check_sequence(self.receipts)
        if not self.segment or self.segment[0].receipt.position != self.first:
            raise InvalidRequest(f"no receipt begins at position {self.first}")
        _check_rows(self.inputs, self.receipts, 0, [signed.receipt.inputs for signed in self.receipts])
        if self.outputs is not None:
            _check_rows(self.outputs, self.segment, self.first, [one.receipt.outputs for one in self.segment])
        if self.sketches:
            signed = [one.receipt.sketch for one in self.segment]
            if [sketch_hash(sketch) for sketch in self.sketches] != signed:
                raise InvalidRequest("sketches that are not those that were signed for")

    @property
    def terms(self) -> Terms:
        return self.receipts[0].receipt.terms

    @property
    def peer_id(self) -> str:
        """Whose work it is."""
        return self.receipts[0].peer_id

    @property
    def stop(self) -> int:
        """One past the last position."""
        return self.receipts[-1].receipt.stop_position

    @property
    def segment(self) -> tuple[SignedReceipt, ...]:
        """The receipts that are to be judged."""
        return tuple(one for one in self.receipts if one.receipt.position >= self.first)


def parse_format(terms: Terms) -> tuple[str, torch.dtype]:
    """What a receipt says of quantisation and dtype. Raises InvalidRequest if it says nothing that makes sense."""
    quant, _, dtype = terms.format.partition("/")
    if quant not in QUANTS or dtype not in codec.DTYPES:
        raise InvalidRequest(f"{terms.format!r:.60} is not a format like int4/bfloat16")
    return quant, codec.DTYPES[dtype]


def judge_case(case: Case, recompute: Recomputes, thresholds: Thresholds) -> Judgement:
    """Whether the segment was computed as announced.

    Bits are compared where the auditor has the hop's numerics, which takes no outputs: the signed roots will do. Else
    distances are, from the outputs or, without them, from the sketches. Raises InvalidRequest without either.
    """
    x, wire = case.inputs.tensor(), codec.torch_dtype(case.terms.wire_dtype)
    if case.terms.numerics_id and case.terms.numerics_id == recompute.numerics_id:
        return _judge_roots(case, codec.to_rows(recompute.exact(x)[case.first :], wire))
    if case.outputs is not None:
        return judge(x, case.outputs.tensor(), recompute, case.first, thresholds)
    if not case.sketches:
        raise InvalidRequest("neither outputs nor sketches to compare with")
    sketches = [
        Sketch(parse_sketch(data, one.count), one.receipt.inputs, one.receipt.outputs)
        for data, one in zip(case.sketches, case.segment, strict=True)
    ]
    return judge_sketches(x, sketches, recompute, case.first, thresholds, wire)


def _judge_roots(case: Case, own: Rows) -> Judgement:
    wrong = 0
    for one in case.segment:
        start = one.receipt.position - case.first
        if merkle_root(own.digests[start : start + one.count]) != one.receipt.outputs:
            wrong += one.count
    tokens = case.stop - case.first
    if wrong:
        reason = f"{wrong} of {tokens} tokens are in receipts for other bits than the announced numerics give"
        return Judgement(Verdict.FAIL, "exact", wrong, reason)
    return Judgement(Verdict.PASS, "exact", 0.0, f"all {tokens} tokens have the same bits")


def _check_sequence(receipts: Sequence[SignedReceipt]) -> None:
    """Raises InvalidRequest unless they are one hop's, one after the other, from the first position on."""
    position = 0
    for index, signed in enumerate(receipts):
        receipt = signed.receipt
        if receipt.terms != receipts[0].receipt.terms or receipt.index != index:
            raise InvalidRequest("receipts that are not one hop's for one session, from the first on")
        if receipt.position != position:
            raise InvalidRequest(f"positions from {receipt.position} on were computed twice, or not at all")
        position = receipt.stop_position


def _check_rows(rows: Rows, receipts: Sequence[SignedReceipt], first: int, roots: Sequence[bytes]) -> None:
    """Raises InvalidRequest unless `rows`, of positions `first` on, are what was signed for."""
    if len(rows) != receipts[-1].receipt.stop_position - first or rows.dtype != receipts[0].receipt.terms.wire_dtype:
        raise InvalidRequest(f"{len(rows)} rows, which are not those that were signed for")
    for one, root in zip(receipts, roots, strict=True):
        start = one.receipt.position - first
        if merkle_root(rows.digests[start : start + one.count]) != root:
            raise InvalidRequest(f"rows of positions {one.receipt.position} on that are not those that were signed for")
