"""The judgement of an audit: distances, bits, sketches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audited import Recorded, signed_case
from swarm.errors import InvalidRequest
from swarm.verify.audit.case import judge_case
from swarm.verify.audit.judging.accumulated import ALARM, Accumulated
from swarm.verify.audit.judging.judgement import (
    SEGMENT,
    WINDOW,
    Judgement,
    Verdict,
    accumulate,
    independent,
    judge,
    judge_sketches,
    score,
)
from swarm.verify.audit.judging.thresholds import BUILT_IN
from swarm.verify.receipts.sketch import K, Sketch, parse_sketch, projections, sketch, sketch_bytes

ROOTS = (b"i" * 32, b"o" * 32)


def scored(found: torch.Tensor, first: int = 0) -> Judgement:
    """Of tokens that have nothing in common."""
    return score(found, torch.eye(len(found)), first, BUILT_IN, "tolerant")


@given(tokens=st.integers(1, SEGMENT), seed=st.integers(0, 99), size=st.floats(1e-3, 1e3))
def test_a_peer_that_rounds_as_much_as_the_auditor_passes_whatever_the_scale(tokens, seed, size):
    own = Recorded(tokens, noise=0.01, seed=seed)
    own.x, own.values, own.rounded = size * own.x, size * own.values, size * own.rounded
    assert judge(own.x, own.off_by(0.009 * size), own, 0, BUILT_IN).verdict == Verdict.PASS


@given(tokens=st.integers(WINDOW, SEGMENT), seed=st.integers(0, 99))
def test_a_larger_error_is_suspect_and_a_large_one_fails(tokens, seed):
    own = Recorded(tokens, seed=seed)
    assert judge(own.x, own.off_by(0.02), own, 0, BUILT_IN).verdict == Verdict.SUSPECT
    assert judge(own.x, own.off_by(0.05), own, 0, BUILT_IN).verdict == Verdict.FAIL


@given(st.lists(st.floats(0, 10), min_size=1, max_size=SEGMENT), st.floats(1, 3))
def test_more_error_is_never_a_better_verdict(values, factor):
    found = torch.tensor(values)
    assert scored(factor * found).verdict >= scored(found).verdict


@given(st.permutations(range(WINDOW)), st.integers(0, 7), st.permutations(range(SEGMENT)))
def test_a_few_tokens_far_off_are_bad_luck_and_more_are_cheating(within, window, anywhere):
    def verdict(*tokens: int) -> Verdict:
        found = torch.ones(SEGMENT)
        found[list(tokens)] = 20.0
        return scored(found).verdict

    close = [WINDOW * window + token for token in within]
    assert verdict(*close[: BUILT_IN.outliers]) == Verdict.PASS
    assert verdict(*close[: BUILT_IN.outliers + 1]) == Verdict.FAIL
    assert verdict(*anywhere[: BUILT_IN.segment_outliers + 1]) == Verdict.FAIL


@given(st.integers(1, 40), st.integers(1, 20))
def test_tokens_count_as_far_as_they_are_different(directions, repeats):
    assert independent(torch.eye(directions).repeat(repeats, 1)) == pytest.approx(directions)
    assert independent(3 * torch.ones(repeats, 5)) == pytest.approx(1)
    assert independent(torch.zeros(repeats, 5)) == repeats


def test_one_tokens_bad_luck_repeated_for_ever_convicts_nobody():
    """And a tenth of a segment that is all alike neither; the same ratios from different tokens do."""
    found, alike = torch.full((SEGMENT,), 8.0), torch.ones(SEGMENT, 64)
    judgement = score(found, alike, 0, BUILT_IN, "tolerant")
    assert judgement.verdict == Verdict.PASS and "too alike" in judgement.reason
    assert accumulate(Accumulated(), judgement, BUILT_IN) == Accumulated()
    assert scored(found).verdict == Verdict.FAIL
    found, mixed = torch.ones(SEGMENT), torch.eye(SEGMENT)
    found[::8], mixed[::8] = 8.0, mixed[0]
    assert score(found, mixed, 0, BUILT_IN, "tolerant").verdict == Verdict.PASS


@given(tokens=st.integers(1, SEGMENT), first=st.integers(0, 1000))
def test_windows_cover_a_segment_once_and_none_is_short_but_the_only_one(tokens, first):
    windows = scored(torch.ones(tokens), first).windows
    covered = [position for one in windows for position in range(one.position, one.position + one.count)]
    assert covered == list(range(first, first + tokens))
    assert all(WINDOW <= one.count < 2 * WINDOW for one in windows) or (len(windows) == 1 and tokens < 2 * WINDOW)


@given(where=st.integers(0, 63), value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_nan_infinity_and_wrong_shapes_fail_in_any_method(where, value):
    own = Recorded(64)
    y = own.off_by(0.005)
    for wrong in (y[:-1], y[:, :-1], y.flatten()):
        assert judge(own.x, wrong, own, 0, BUILT_IN).verdict == Verdict.FAIL
    y[where, 3] = value
    assert judge(own.x, y, own, 0, BUILT_IN).verdict == Verdict.FAIL
    claimed = [Sketch(sketch(own.x, y, *ROOTS), *ROOTS)]
    assert judge_sketches(own.x, claimed, own, 0, BUILT_IN, torch.float32).verdict == Verdict.FAIL
    assert judge_sketches(own.x, claimed, own, 1, BUILT_IN, torch.float32).verdict == Verdict.FAIL, "a token too many"


def test_nobody_is_accused_over_values_that_the_wire_or_the_inputs_made_infinite():
    own = Recorded(64)
    own.values[5] = own.rounded[5] = 1e6  # more than float16 holds
    y = own.off_by(0.005).half()
    assert y[5].isinf().all()
    assert judge(own.x, y, own, 0, BUILT_IN).verdict == Verdict.PASS
    y[6] = math.inf
    assert judge(own.x, y, own, 0, BUILT_IN).verdict == Verdict.FAIL
    own.x[7:] = own.values[7:] = own.rounded[7:] = math.nan
    assert judge(own.x, own.off_by(0.005), own, 0, BUILT_IN).verdict == Verdict.PASS


def test_equal_numerics_demand_equal_bits():
    own = Recorded(64)
    y = own.values.clone()
    assert judge_case(signed_case(own.x, y, "same"), own, BUILT_IN).verdict == Verdict.PASS
    y[9, 0] = torch.nextafter(y[9, 0], torch.tensor(9.0))
    judgement = judge_case(signed_case(own.x, y, "same"), own, BUILT_IN)
    assert (judgement.verdict, judgement.method) == (Verdict.FAIL, "exact")
    assert judgement.statistic == 8, "the tokens of one receipt"
    for numerics_id in ("other", ""):
        judgement = judge_case(signed_case(own.x, y, numerics_id), own, BUILT_IN)
        assert (judgement.verdict, judgement.method) == (Verdict.PASS, "tolerant")


def test_minus_zero_is_another_bit_and_a_nan_is_itself():
    own = Recorded(64)
    own.values[5, 0], own.values[6] = 0.0, math.nan
    y = own.values.clone()
    assert judge_case(signed_case(own.x, y, "same"), own, BUILT_IN).verdict == Verdict.PASS
    y[5, 0] = -0.0
    assert judge_case(signed_case(own.x, y, "same"), own, BUILT_IN).verdict == Verdict.FAIL


def test_declared_float32_may_be_off_by_a_ten_thousandth_of_what_was_added():
    own = Recorded(64, noise=0.0)
    added = (own.values - own.x).norm(dim=1).mean() / 8  # a row has 64 values
    for error, verdict in ((1e-5, Verdict.PASS), (2e-4, Verdict.FAIL)):
        assert judge(own.x, own.off_by(error * added), own, 0, BUILT_IN).verdict == verdict


@given(errors=st.lists(st.floats(0.5, 1.04), max_size=300))
def test_an_honest_peer_never_accumulates_a_conviction(errors):
    state = Accumulated()
    for error in errors:
        state = state.plus(math.log(error), BUILT_IN.mean, BUILT_IN.deviation)
    assert state.score < ALARM and state.segments == len(errors)


@given(honest_segments=st.integers(0, 200))
def test_whoever_turns_to_int8_is_convicted_within_five_segments_and_not_by_one(honest_segments):
    state = Accumulated()
    for _ in range(honest_segments):
        state = state.plus(0.0, BUILT_IN.mean, BUILT_IN.deviation)
    states = [state := state.plus(math.log(1.24), BUILT_IN.mean, BUILT_IN.deviation) for _ in range(5)]
    assert states[-1].convicts
    assert not Accumulated().plus(math.log(100), BUILT_IN.mean, BUILT_IN.deviation).convicts


def test_false_alarms_stay_below_their_bound():
    """At the very edge of what is called honest, where nothing else holds evidence back."""
    logs = BUILT_IN.mean + BUILT_IN.deviation * torch.randn(20_000, generator=torch.Generator().manual_seed(3))
    state, most = Accumulated(), 0.0
    for log in logs.tolist():
        state = state.plus(log, BUILT_IN.mean, BUILT_IN.deviation)
        most = max(most, state.score)
    assert most < ALARM


@given(count=st.integers(1, 70), seed=st.integers(0, 99))
def test_a_sketch_survives_the_wire(count, seed):
    own = Recorded(count, seed=seed)
    y = own.off_by(0.01)
    values = sketch(own.x, y, *ROOTS)
    assert values.shape == (count, K)
    parsed = parse_sketch(sketch_bytes(values), count)
    assert torch.equal(parsed, values)
    for wrong in (sketch_bytes(values)[:-1], sketch_bytes(values) + b"\0", b""):
        with pytest.raises(InvalidRequest, match="bytes"):
            parse_sketch(wrong, count)


def test_projections_are_the_same_everywhere_and_nearly_orthogonal():
    matrix = projections(bytes(32), 576)
    assert torch.equal(matrix, projections(bytes(32), 576))
    assert not torch.equal(matrix, projections(bytes(31) + b"1", 576))
    assert set(matrix.unique().tolist()) == {-1.0, 1.0}
    assert matrix[0, :8].tolist() == [1, 1, 1, 1, -1, 1, -1, 1]  # part of the protocol: never to change
    products = matrix.T @ matrix / 576 - torch.eye(K)
    assert products.abs().max() < 0.2
