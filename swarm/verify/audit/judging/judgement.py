"""Whether a hop's outputs are what it announced, by comparing them with a recomputation. No I/O, no model.

Two peers with the same numerics id give the same bits, so there any difference convicts. Other honest peers differ by
floating-point noise, on most tokens in some bit. There a token's error is measured against the noise that the auditor's
own low-precision run has on that very token:

    ratio = distance of y from the line between reference and noise / |noise - reference|

It is about 1 for an honest peer, whatever the model, the range of blocks and the size of the activations. The distance
is to the line, not to the reference, because what an honest peer's rounding has in common with the auditor's should not
count against it: this brings honest kernels closer together, and cheaper weights no closer to them.

Tokens are evidence only as far as they are different. A session that repeats one token for ever repeats its rounding,
too, and where that was unlucky an honest peer is off by eight times, in every token. So tokens are counted by how many
directions the auditor's own rounding takes over them (`independent`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from swarm.verify.audit.judging.accumulated import Accumulated
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.audit.judging.verdict import Verdict
from swarm.verify.receipts.sketch import Sketch, project, sketch_seed

WINDOW = 32  # tokens that get a verdict of their own
SEGMENT = 256  # tokens that are audited together

# What a float32 result may differ by, in parts of what the hop added. A ratio of 3 is then a relative error of 1e-4.
FLOAT32_ERROR = 1e-4 / 3

_ENOUGH = 16  # tokens whose median says something
_DIFFERENT = 8.0  # as many of them independent; measured in text: at least 16 of a window, 26 of a segment


class Recomputes(Protocol):
    """What an honest peer of the announced format would have computed; see swarm/verify/audit/reexecution.py.

    All take x [tokens, hidden_size], a session's inputs from position 0 on, and return float tensors of its shape.
    """

    @property
    def numerics_id(self) -> str: ...

    def exact(self, x: Tensor) -> Tensor: ...

    def reference(self, x: Tensor) -> Tensor: ...

    def noise(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Score:
    """What the ratios of consecutive tokens come to.

    position, count: the tokens
    median:   of their ratios
    outliers: how many exceed `Thresholds.outlier`, counted as far as they are independent
    """

    position: int
    count: int
    median: float
    outliers: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one segment.

    method:    "exact", "tolerant" or "sketch"
    statistic: the segment's median ratio; of "exact" the number of tokens that differ
    reason:    one plain sentence
    windows:   what each window came to; none for "exact", and where the output cannot even be compared
    different: how many independent tokens it rests on
    """

    verdict: Verdict
    method: str
    statistic: float
    reason: str
    windows: tuple[Score, ...] = ()
    different: float = 0.0

    def convicts(self, thresholds: Thresholds, revision: str) -> bool:
        """Whether it failed beyond doubt: by bits, or by `thresholds` that were measured on this very model."""
        is_sure = self.method == "exact" or thresholds.provenance.revision == revision
        return self.verdict == Verdict.FAIL and is_sure


def judge(x: Tensor, y: Tensor, recompute: Recomputes, first: int, thresholds: Thresholds) -> Judgement:
    """Whether y is what the hop's blocks make of x, by its distance from that; for up to SEGMENT tokens.

    x: [first + count, hidden_size], the hop's inputs from position 0 on, as they were on the wire.
    y: [count, hidden_size], its outputs for positions `first` on, in the dtype that they had on the wire.
    """
    expected = [len(x) - first, x.shape[1]]
    if list(y.shape) != expected:
        return _failed("tolerant", f"the output's shape is {list(y.shape)}, not {expected}")
    reference, noise = recompute.reference(x)[first:], recompute.noise(x)[first:]
    found = ratios(x[first:], y, reference, noise)
    return score(found, rounding(reference, noise, y.dtype), first, thresholds, "tolerant")


def judge_sketches(
    x: Tensor,
    sketches: Sequence[Sketch],
    recompute: Recomputes,
    first: int,
    thresholds: Thresholds,
    wire_dtype: torch.dtype,
) -> Judgement:
    """The same from the sketches of the outputs instead of them.

    sketches: of consecutive receipts, together the tokens from `first` to the end of x.
    wire_dtype: that the outputs had.
    """
    given, expected = sum(len(part.values) for part in sketches), len(x) - first
    if given != expected:
        return _failed("sketch", f"the sketches are of {given} tokens, not {expected}")
    reference, noise = recompute.reference(x)[first:], recompute.noise(x)[first:]
    found = sketch_ratios(x[first:], sketches, reference, noise, wire_dtype)
    return score(found, rounding(reference, noise, wire_dtype), first, thresholds, "sketch")


def accumulate(state: Accumulated, judgement: Judgement, thresholds: Thresholds) -> Accumulated:
    """A peer's audits after this one more, if it says anything on how far the peer is off."""
    tokens = sum(window.count for window in judgement.windows)
    if tokens < WINDOW or judgement.different < _DIFFERENT:
        return state
    deviation = thresholds.deviation * math.sqrt(max(SEGMENT / tokens, 1.0))  # fewer tokens say less
    return state.plus(math.log(max(judgement.statistic, 1e-9)), thresholds.mean, deviation)


def ratios(x: Tensor, y: Tensor, reference: Tensor, noise: Tensor) -> Tensor:
    """[tokens] float32, of a segment. All [tokens, hidden_size]: inputs, the claimed outputs in the dtype that they had
    on the wire, what float32 gives, and what low precision gives.

    0 for a token whose honest result is not finite on the wire: whoever chose the inputs and the wire's dtype is to
    blame for that. NaN or infinity where y is not finite, although it should be.
    """
    rounded = noise.to(y.dtype).float()
    error = _off_line(y.float() - reference, rounded - reference)
    return _relative(error, x.float(), reference, rounded, y.dtype)


def sketch_ratios(
    x: Tensor, sketches: Sequence[Sketch], reference: Tensor, noise: Tensor, wire_dtype: torch.dtype
) -> Tensor:
    """`ratios`, each estimated from a sketch."""
    rounded = noise.to(wire_dtype).float()
    added, spread = (reference - x.float()), rounded - reference
    k = sketches[0].values.shape[1]
    errors, done = [], 0
    for values, *roots in sketches:
        part, seed = slice(done, done := done + len(values)), sketch_seed(*roots)
        errors.append(_off_line(values - project(added[part], seed, k), project(spread[part], seed, k)))
    return _relative(torch.cat(errors) / _median_norm(k), x.float(), reference, rounded, wire_dtype)


def rounding(reference: Tensor, noise: Tensor, wire_dtype: torch.dtype) -> Tensor:
    """[tokens, hidden_size]: by what the auditor's own rounding, and the wire's, changes the result."""
    return (noise.to(wire_dtype).float() - reference).nan_to_num(0.0, 0.0, 0.0)


def independent(rows: Tensor) -> float:
    """How many of the rows [n, hidden_size] are independent: n where all are orthogonal, 1 where all are parallel.
    (The participation ratio of their correlations, n^2 / sum of squares.)"""
    units = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30)
    correlations = (units @ units.T).fill_diagonal_(1.0)
    return len(rows) ** 2 / max(float(correlations.square().sum()), 1.0)


def score(found: Tensor, rounding: Tensor, first: int, thresholds: Thresholds, method: str) -> Judgement:
    """The verdict on a segment with these ratios, [tokens], and this rounding, [tokens, hidden_size]; `first` is its
    position."""
    if not found.isfinite().all():
        return _failed(method, f"the output has NaN or infinity in {int((~found.isfinite()).sum())} tokens")
    parts = list(_windows(len(found)))
    windows = tuple(_window(found[part], rounding[part], first + part.start, thresholds) for part in parts)
    median, outliers, different = float(found.median()), _outliers(found, rounding, thresholds), independent(rounding)
    verdict = max(window.verdict for window in windows)
    if len(found) >= WINDOW and different >= _DIFFERENT and median > _limit(len(found), thresholds):
        verdict = max(verdict, Verdict.SUSPECT)
    if outliers > thresholds.segment_outliers:
        verdict = Verdict.FAIL
    large = f"in {int((found > thresholds.outlier).sum())} of {len(found)} tokens over {thresholds.outlier:g} times"
    reason = f"the error is {median:.2f} times an honest peer's, {large}"
    if different < _DIFFERENT:
        reason += f"; the tokens are too alike to say more (as {different:.1f} different ones)"
    return Judgement(verdict, method, median, reason, windows, different)


def _failed(method: str, reason: str) -> Judgement:
    return Judgement(Verdict.FAIL, method, math.inf, reason)


def _off_line(error: Tensor, spread: Tensor) -> Tensor:
    """[tokens]: the norms of errors [tokens, n], less what of them lies on the way from 0 to `spread`."""
    share = (error * spread).sum(1) / spread.square().sum(1).clamp(min=1e-30)
    norms: Tensor = (error - share.clamp(0, 1)[:, None] * spread).norm(dim=1)
    return norms


def _relative(error: Tensor, x: Tensor, reference: Tensor, rounded: Tensor, wire_dtype: torch.dtype) -> Tensor:
    """error [tokens] in parts of what is allowed: the token's own noise, but no less than is usual in its segment (a
    token that the auditor's rounding happened to spare is no one else's fault), and no less than float32's."""
    fits = (reference.abs().amax(1) < torch.finfo(wire_dtype).max / 2) & rounded.isfinite().all(1)
    noise, added = (rounded - reference).norm(dim=1), (reference - x).norm(dim=1)
    usual = (noise / added.clamp(min=1e-30))[fits].median() if fits.any() else 0.0
    allowed = torch.maximum(noise, added * max(float(usual), FLOAT32_ERROR)).clamp(min=1e-30)
    return torch.where(fits, error / allowed, 0.0)


def _median_norm(k: int) -> float:
    """The median norm of the projections of a unit vector on k random directions, when one dimension went with the
    line: a chi distribution with k - 1 degrees of freedom (Wilson and Hilferty, 1931)."""
    freedom = k - 1
    return math.sqrt(freedom * (1 - 2 / (9 * freedom)) ** 3)


def _limit(count: int, thresholds: Thresholds) -> float:
    """For the median of so many tokens: from `suspect` for a window to `segment` for a whole segment, as the spread of
    a median falls with the root of their number."""
    width = (math.sqrt(SEGMENT / count) - 1) / (math.sqrt(SEGMENT / WINDOW) - 1)
    return thresholds.segment + max(width, 0.0) * (thresholds.suspect - thresholds.segment)


def _windows(count: int) -> Iterator[slice]:
    """Of WINDOW tokens each; a shorter rest belongs to the last."""
    last = max(count // WINDOW - 1, 0) * WINDOW
    for start in range(0, last + 1, WINDOW):
        yield slice(start, count if start == last else start + WINDOW)


def _window(found: Tensor, rounding: Tensor, position: int, thresholds: Thresholds) -> Score:
    median, outliers = float(found.median()), _outliers(found, rounding, thresholds)
    telling = len(found) >= _ENOUGH and independent(rounding) >= _DIFFERENT
    verdict = Verdict.PASS
    if telling and median > thresholds.suspect:
        verdict = Verdict.SUSPECT
    if outliers > thresholds.outliers or (telling and median > thresholds.fail):
        verdict = Verdict.FAIL
    return Score(position, len(found), median, outliers, verdict)


def _outliers(found: Tensor, rounding: Tensor, thresholds: Thresholds) -> float:
    far = found > thresholds.outlier
    return independent(rounding[far]) if far.any() else 0.0
