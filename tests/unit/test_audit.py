"""Audits pass what honest peers compute, in whatever way, and find those that save themselves the work."""

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swarm.cli import calibrate
from swarm.errors import InvalidRequest
from swarm.model import Checkpoint, ModelEnds
from swarm.verify.audit.accumulated import ALARM, Accumulated
from swarm.verify.audit.calibration import load_thresholds, save_thresholds, text_segments
from swarm.verify.audit.case import Case, judge_case
from swarm.verify.audit.judgement import (
    SEGMENT,
    WINDOW,
    Judgement,
    Verdict,
    accumulate,
    independent,
    judge,
    judge_sketches,
    ratios,
    score,
)
from swarm.verify.audit.reexecution import Reexecutor, prefill
from swarm.verify.audit.thresholds import BUILT_IN
from swarm.verify.audit.variants import CHEAPER, Announced, Products, SplitProduct, Variant, cheaper, cheats, honest
from swarm.verify.receipts.sketch import K, Sketch, parse_sketch, projections, sketch, sketch_bytes
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm_kernels import cpu

BF16 = torch.bfloat16
BLOCKS = (10, 12)
ROOTS = (b"i" * 32, b"o" * 32)
TOKENS = 64

needs_kernels = pytest.mark.skipif(not cpu.is_available(), reason="torch promises no equal bits")


class Recorded:
    """An auditor whose results are given: `reference` plus rounding of size `noise`."""

    numerics_id = "same"

    def __init__(self, tokens: int, hidden_size: int = 64, noise: float = 0.01, seed: int = 0):
        self._generator = torch.Generator().manual_seed(seed)
        self.x = self._normal(tokens, hidden_size)
        self._reference = self.x + self._normal(tokens, hidden_size)
        self._noise = self._reference + noise * self._normal(tokens, hidden_size)

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator)

    def off_by(self, error: float) -> torch.Tensor:
        """Outputs of somebody else whose rounding has this size."""
        return self._reference + error * self._normal(*self.x.shape)

    def exact(self, x: torch.Tensor) -> torch.Tensor:
        return self._reference

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return self._reference

    def noise(self, x: torch.Tensor) -> torch.Tensor:
        return self._noise


def signed_case(x: torch.Tensor, y: torch.Tensor, numerics_id: str, first: int = 0) -> Case:
    """What a peer signed that promised these numerics, and gave y [count, hidden_size] for x from position `first` on.
    A receipt has 8 tokens at most."""
    peer, signed = Identity(), list[SignedReceipt]()
    terms = Terms(
        bytes(16), 1, peer.address, *BLOCKS, NOTHING, "none/bfloat16", numerics_id, codec.wire_dtype(y.dtype), NOTHING
    )
    writer = ReceiptWriter(peer, terms, signed.append)
    inputs, outputs = codec.to_rows(x, y.dtype), codec.to_rows(torch.cat([x[:first].to(y.dtype), y]), y.dtype)
    cuts = [*range(0, first, 8), *range(first, len(x), 8), len(x)]
    for start, stop in pairwise(cuts):
        writer.record(start, inputs[start:stop], outputs[start:stop])
        writer.seal()
    return Case(tuple(signed), first, inputs, outputs[first:])


def scored(found: torch.Tensor, first: int = 0) -> Judgement:
    """Of tokens that have nothing in common."""
    return score(found, torch.eye(len(found)), first, BUILT_IN, "tolerant")


@given(tokens=st.integers(1, SEGMENT), seed=st.integers(0, 99), size=st.floats(1e-3, 1e3))
def test_a_peer_that_rounds_as_much_as_the_auditor_passes_whatever_the_scale(tokens, seed, size):
    own = Recorded(tokens, noise=0.01, seed=seed)
    own.x, own._reference, own._noise = size * own.x, size * own._reference, size * own._noise
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
    own._reference[5] = own._noise[5] = 1e6  # more than float16 holds
    y = own.off_by(0.005).half()
    assert y[5].isinf().all()
    assert judge(own.x, y, own, 0, BUILT_IN).verdict == Verdict.PASS
    y[6] = math.inf
    assert judge(own.x, y, own, 0, BUILT_IN).verdict == Verdict.FAIL
    own.x[7:] = own._reference[7:] = own._noise[7:] = math.nan
    assert judge(own.x, own.off_by(0.005), own, 0, BUILT_IN).verdict == Verdict.PASS


def test_equal_numerics_demand_equal_bits():
    own = Recorded(64)
    y = own._reference.clone()
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
    own._reference[5, 0], own._reference[6] = 0.0, math.nan
    y = own._reference.clone()
    assert judge_case(signed_case(own.x, y, "same"), own, BUILT_IN).verdict == Verdict.PASS
    y[5, 0] = -0.0
    assert judge_case(signed_case(own.x, y, "same"), own, BUILT_IN).verdict == Verdict.FAIL


def test_declared_float32_may_be_off_by_a_ten_thousandth_of_what_was_added():
    own = Recorded(64, noise=0.0)
    added = (own._reference - own.x).norm(dim=1).mean() / 8  # a row has 64 values
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


@pytest.fixture(scope="module")
def segment(demo_checkpoint) -> torch.Tensor:
    """What text looks like at block 10, [SEGMENT, hidden_size] bfloat16."""
    embedded = ModelEnds.load(demo_checkpoint, torch.float32).embed(text_segments(demo_checkpoint, 1)[0])
    return Reexecutor(demo_checkpoint, 0, BLOCKS[0], "none", BF16).exact(embedded)


@pytest.fixture(scope="module")
def inputs(segment) -> torch.Tensor:
    """As much of it as keeps tests fast."""
    return segment[:TOKENS]


def peer_and_auditor(checkpoint: Checkpoint, quant: str) -> tuple[Announced, Reexecutor]:
    return Announced(checkpoint, *BLOCKS, quant, BF16), Reexecutor(checkpoint, *BLOCKS, quant, BF16)


def judged(variant: Variant, x: torch.Tensor, own: Reexecutor) -> list[Verdict]:
    """From the outputs and from their sketch."""
    y = variant.run(x).to(BF16)
    claimed = [Sketch(sketch(x, y, *ROOTS), *ROOTS)]
    return [
        judge(x, y, own, 0, BUILT_IN).verdict,
        judge_sketches(x, claimed, own, 0, BUILT_IN, BF16).verdict,
    ]


@pytest.mark.parametrize("quant", ["none", "int4", "nf4"])
def test_every_honest_way_to_compute_passes(quant, demo_checkpoint, inputs):
    announced, own = peer_and_auditor(demo_checkpoint, quant)
    for variant in honest(announced):
        assert judged(variant, inputs, own) == [Verdict.PASS] * 2, variant.name


def test_a_segment_convicts_every_cheat_but_for_int8_weights_which_are_suspect(demo_checkpoint, segment):
    announced, own = peer_and_auditor(demo_checkpoint, "none")
    for variant in cheats(announced):
        from_outputs, from_sketch = judged(variant, segment, own)
        if variant.name.startswith("int8 "):
            assert from_outputs == Verdict.SUSPECT, variant.name
        else:
            assert (from_outputs, from_sketch) == (Verdict.FAIL, Verdict.FAIL), variant.name


def test_a_client_that_repeats_one_token_for_ever_gets_nobody_convicted(demo_checkpoint):
    """Of 30 tokens, one or two make some honest kernel several times as wrong as another, in every position alike."""
    embedded = ModelEnds.load(demo_checkpoint, torch.float32).embed(range(1000, 4000, 100)).to(BF16)
    announced, own = peer_and_auditor(demo_checkpoint, "none")
    split = announced.load(Products(SplitProduct, BF16))
    most = 0.0
    for row in embedded:
        x = row.repeat(WINDOW, 1)
        judgement = judge(x, prefill(split, x), own, 0, BUILT_IN)
        assert judgement.verdict == Verdict.PASS
        most = max(most, judgement.statistic)
    assert most > BUILT_IN.suspect, "else nothing was tried"


@needs_kernels
def test_a_bit_by_bit_audit_passes_the_same_kernels_and_fails_every_cheat(demo_checkpoint, inputs):
    announced, own = peer_and_auditor(demo_checkpoint, "none")
    assert own.numerics_id
    pieces = prefill(announced.load(threads=2), inputs, pieces=[40, 7, *[1] * 17])
    found = judge_case(signed_case(inputs, pieces[30:], own.numerics_id, 30), own, BUILT_IN)
    assert (found.method, found.verdict) == ("exact", Verdict.PASS)
    for variant in cheats(announced):
        if "context" not in variant.name:
            y = variant.run(inputs).to(BF16)
            judgement = judge_case(signed_case(inputs, y, own.numerics_id), own, BUILT_IN)
            assert (judgement.verdict, judgement.method) == (Verdict.FAIL, "exact"), variant.name


def test_weights_are_compared_with_those_announced_not_with_the_best(demo_checkpoint, inputs):
    """int8 weights are no fault of who announces int8, and one of who announces bfloat16."""
    own = Reexecutor(demo_checkpoint, *BLOCKS, "int8", BF16)
    int8 = cheaper(Announced(demo_checkpoint, *BLOCKS, "none", torch.float32), CHEAPER["int8"][1])
    assert judge(inputs, int8(inputs), own, 0, BUILT_IN).verdict == Verdict.PASS


def test_bitsandbytes_formats_are_refused(demo_checkpoint):
    with pytest.raises(InvalidRequest, match="bnb-nf4"):
        Reexecutor(demo_checkpoint, *BLOCKS, "bnb-nf4", BF16)


def test_kept_thresholds_come_back_and_others_are_built_in(tmp_path):
    mine = replace(BUILT_IN, suspect=1.4, provenance=replace(BUILT_IN.provenance, revision="../r", quant="int4"))
    path = save_thresholds(tmp_path, replace(mine, provenance=replace(mine.provenance, dtype="bfloat16")))
    assert path.parent == tmp_path
    assert load_thresholds(tmp_path, "../r", "int4", BF16).suspect == 1.4
    assert load_thresholds(tmp_path, "../r", "nf4", BF16) is BUILT_IN
    for broken in ("{", "[]", *(json.dumps(asdict(mine) | {"fail": value}) for value in ("high", math.nan, -1))):
        path.write_text(broken)
        with pytest.raises(InvalidRequest, match="calibrate again"):
            load_thresholds(tmp_path, "../r", "int4", BF16)


@pytest.mark.slow
def test_calibration_separates_honest_peers_from_cheats(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    assert calibrate.main(["--tokens", "512", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for row in result["variants"]:
        assert (row["suspect %"] + row["fail %"] == 0) if row["honest"] else (row["suspect %"] + row["fail %"] == 100)
    revision = result["thresholds"]["provenance"]["revision"]
    assert load_thresholds(tmp_path / "thresholds", revision, "none", BF16).provenance.trials > 0


def test_calibration_refuses_more_text_than_there_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    assert calibrate.main(["--tokens", "0"]) == 1
    assert "segments" in capsys.readouterr().err


def test_ratios_do_not_depend_on_what_noise_has_in_common():
    own = Recorded(64)
    halfway = (own._reference + own._noise) / 2
    assert ratios(own.x, halfway, own._reference, own._noise).max() < 1e-3
