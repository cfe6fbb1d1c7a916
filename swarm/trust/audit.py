"""Whether a hop's outputs are what it announced, by comparing them with a recomputation. No I/O, no model.

Two peers with the same numerics id give the same bits, so there any difference convicts. Other honest peers differ by
floating-point noise, on most tokens in some bit. There a token's error is measured against the noise that the auditor's
own low-precision run has on that very token,

    ratio = |y - reference| / |noise - reference|       (Euclidean norms; see `allowance` for the denominator)

which is about 1 for an honest peer, whatever the model, the block range and the size of the activations.
"""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from swarm.trust.accumulated import Accumulated
from swarm.trust.sketch import projections, sketch_seed
from swarm.trust.thresholds import Thresholds

WINDOW = 32  # tokens that get a verdict of their own
SEGMENT = 256  # tokens that are audited together

# What a float32 result may differ by, in parts of what the hop added. A ratio of 3 is then a relative error of 1e-4.
FLOAT32_ERROR = 1e-4 / 3


class Verdict(enum.IntEnum):
    """The worse the higher."""

    PASS = 0
    SUSPECT = 1
    FAIL = 2


class Recomputes(Protocol):
    """What an honest peer of the announced format would have computed; see swarm/trust/reexecution.py.

    All take x [tokens, hidden_size], a session's inputs from position 0 on, and return float tensors of its shape.
    """

    numerics_id: str
    hidden_size: int

    def exact(self, x: Tensor) -> Tensor: ...

    def reference(self, x: Tensor) -> Tensor: ...

    def noise(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Score:
    """What the ratios of consecutive tokens come to.

    position, count: the tokens.
    median:   of their ratios
    outliers: how many exceed `Thresholds.outlier`
    """

    position: int
    count: int
    median: float
    outliers: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one segment.

    method:    "exact", "tolerant" or "sketch"
    statistic: the segment's median ratio; by "exact" the number of tokens that differ
    windows:   of the tolerant methods
    reason:    one plain sentence
    """

    verdict: Verdict
    method: str
    statistic: float
    reason: str
    windows: tuple[Score, ...] = ()


def exact_mismatch(claimed: Tensor, recomputed: Tensor) -> int:
    """How many rows differ in any bit; both [tokens, hidden_size] of one dtype. NaN equals the same NaN."""
    integers = {2: torch.int16, 4: torch.int32}[claimed.element_size()]
    return int((claimed.contiguous().view(integers) != recomputed.contiguous().view(integers)).any(1).sum())


def allowance(x: Tensor, reference: Tensor, noise: Tensor) -> Tensor:
    """[tokens], what a ratio is relative to: the noise, but never less than float32's own."""
    return torch.maximum((noise - reference).norm(dim=1), FLOAT32_ERROR * (reference - x).norm(dim=1))


def ratios(x: Tensor, y: Tensor, reference: Tensor, noise: Tensor) -> Tensor:
    """[tokens] float32. All [tokens, hidden_size]: inputs, claimed outputs, what float32 and low precision give."""
    x, y, reference, noise = (tensor.float() for tensor in (x, y, reference, noise))
    return (y - reference).norm(dim=1) / allowance(x, reference, noise)


def judge(
    x: Tensor, y: Tensor, recompute: Recomputes, first: int, thresholds: Thresholds, numerics_id: str = ""
) -> Judgement:
    """Whether y is what the hop's blocks make of x.

    x: [first + count, hidden_size], the hop's inputs from position 0 on, as they were on the wire.
    y: [count, hidden_size], its outputs for positions `first` on, in the dtype that they had on the wire.
    numerics_id: that the hop signed; equal to the auditor's own, equal bits are demanded.
    """
    if y.shape != (len(x) - first, x.shape[1]):
        return _failed("tolerant", f"the output's shape is {list(y.shape)}, not {[len(x) - first, x.shape[1]]}")
    if numerics_id and numerics_id == recompute.numerics_id:
        return _judge_exactly(y, recompute.exact(x)[first:].to(y.dtype))
    reference, noise = recompute.reference(x)[first:], recompute.noise(x)[first:].to(y.dtype).float()
    return score(ratios(x[first:], y, reference, noise), first, thresholds, "tolerant")


def judge_sketch(
    x: Tensor,
    claimed: Tensor,
    roots: tuple[bytes, bytes],
    recompute: Recomputes,
    first: int,
    thresholds: Thresholds,
    wire_dtype: torch.dtype = torch.float32,
) -> Judgement:
    """The same from the sketch of the outputs instead of them.

    claimed: [count, K], of one receipt. roots: its inputs and outputs root. wire_dtype: that its outputs had.
    """
    reference, noise = recompute.reference(x)[first:], recompute.noise(x)[first:].to(wire_dtype).float()
    found = sketch_ratios(x[first:], claimed, reference, noise, roots)
    return score(found, first, thresholds, "sketch")


def sketch_ratios(x: Tensor, claimed: Tensor, reference: Tensor, noise: Tensor, roots: tuple[bytes, bytes]) -> Tensor:
    """`ratios`, each estimated from K numbers: [tokens]."""
    matrix = projections(sketch_seed(*roots), x.shape[1], claimed.shape[1])
    error = (claimed - (reference - x.float()) @ matrix).norm(dim=1) / claimed.shape[1] ** 0.5
    return error / allowance(x.float(), reference, noise)


def score(found: Tensor, first: int, thresholds: Thresholds, method: str) -> Judgement:
    """The verdict on a segment with these ratios, [tokens]; `first` is its position."""
    if not found.isfinite().all():
        return _failed(method, "the output has NaN or infinity")
    windows = tuple(_window(found[part], first + part.start, thresholds) for part in _windows(len(found)))
    median = float(found.median())
    verdict = max(window.verdict for window in windows)
    if verdict == Verdict.PASS and len(found) >= WINDOW and median > thresholds.segment:
        verdict = Verdict.SUSPECT
    return Judgement(verdict, method, median, f"the error is {median:.2f} times an honest peer's", windows)


def accumulate(state: Accumulated, judgement: Judgement, thresholds: Thresholds) -> Accumulated:
    """A peer's audits after one more."""
    if judgement.method == "exact" or not judgement.windows:
        return replace(state, segments=state.segments + 1)
    return state.plus(math.log(max(judgement.statistic, 1e-9)), thresholds.mean, thresholds.deviation)


def _judge_exactly(y: Tensor, recomputed: Tensor) -> Judgement:
    differing = exact_mismatch(y, recomputed)
    if differing:
        return _failed("exact", f"{differing} of {len(y)} tokens differ from the bits of the same numerics", differing)
    return Judgement(Verdict.PASS, "exact", 0.0, f"all {len(y)} tokens have the same bits")


def _failed(method: str, reason: str, statistic: float = math.inf) -> Judgement:
    return Judgement(Verdict.FAIL, method, statistic, reason)


def _windows(count: int) -> Iterator[slice]:
    """Of WINDOW tokens each; a shorter rest belongs to the last."""
    starts = range(0, max(count - WINDOW, 0) + 1, WINDOW)
    for start in starts:
        yield slice(start, count if start == starts[-1] else start + WINDOW)


def _window(found: Tensor, position: int, thresholds: Thresholds) -> Score:
    median, outliers = float(found.median()), int((found > thresholds.outlier).sum())
    if median > thresholds.fail or outliers > thresholds.outliers:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.SUSPECT if median > thresholds.suspect else Verdict.PASS
    return Score(position, len(found), median, outliers, verdict)
