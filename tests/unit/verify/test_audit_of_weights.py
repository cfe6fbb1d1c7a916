"""Audits on the demo model: every honest way to compute passes, cheats do not."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from audited import BF16, BLOCKS, TOKENS, Recorded, signed_case
from swarm.cli import calibrate
from swarm.errors import InvalidRequest
from swarm.model import Checkpoint, ModelEnds
from swarm.verify.audit.calibrating.calibration import load_thresholds, save_thresholds, text_segments
from swarm.verify.audit.calibrating.variants import (
    CHEAPER,
    Announced,
    Products,
    SplitProduct,
    Variant,
    cheaper,
    cheats,
    honest,
)
from swarm.verify.audit.case import judge_case
from swarm.verify.audit.judging.judgement import (
    WINDOW,
    Verdict,
    judge,
    judge_sketches,
    ratios,
)
from swarm.verify.audit.judging.thresholds import BUILT_IN
from swarm.verify.audit.reexecution import Reexecutor, prefill
from swarm.verify.receipts.sketch import Sketch, sketch
from swarm_kernels import cpu

ROOTS = (b"i" * 32, b"o" * 32)


@pytest.fixture(scope="module")
def segment(demo_checkpoint) -> torch.Tensor:
    """What text looks like at block 10, [SEGMENT, hidden_size] bfloat16."""
    embedded = ModelEnds.load(demo_checkpoint, torch.float32).embed(text_segments(demo_checkpoint, 1)[0])
    return Reexecutor(demo_checkpoint, 0, BLOCKS[0], "none", BF16).exact(embedded)


@pytest.fixture(scope="module")
def inputs(segment) -> torch.Tensor:
    """As much of it as keeps tests fast."""
    return segment[:TOKENS]


needs_kernels = pytest.mark.skipif(not cpu.is_available(), reason="torch promises no equal bits")


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
    assert calibrate.main(["--tokens", "0"]) == 2
    assert "segments" in capsys.readouterr().err


def test_ratios_do_not_depend_on_what_noise_has_in_common():
    own = Recorded(64)
    halfway = (own.values + own.rounded) / 2
    assert ratios(own.x, halfway, own.values, own.rounded).max() < 1e-3
