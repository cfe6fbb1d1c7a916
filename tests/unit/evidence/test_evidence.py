"""Evidence examined: what convicts and what adds up."""

import json
from dataclasses import replace

import pytest
import torch

from evidence_cases import ACCUSER, BLOCKS, CHEAT, HONEST, sign, write
from swarm.cli.support.exits import REFUTED
from swarm.model import BlockRange
from swarm.verify.audit.reexecution import prefill


@pytest.fixture(scope="module")
def announced(demo_checkpoint) -> BlockRange:
    return BlockRange.load(demo_checkpoint, *BLOCKS, torch.bfloat16, threads=1)


def test_one_wrong_bit_of_promised_numerics_convicts(tmp_path, examine, inputs, announced, weights):
    y = prefill(announced, inputs[0]).clone()
    if not announced.numerics_id:
        pytest.skip("this machine promises no bits")
    y[70, 3] = torch.nextafter(y[70, 3], torch.tensor(100.0, dtype=torch.bfloat16))
    file = write(tmp_path / "evidence", sign(CHEAT, inputs[0], y, weights, announced.numerics_id))
    status, out, _ = examine(file)
    assert status == 0
    assert f"accused    {CHEAT.peer_id}" in out
    assert f"by         {ACCUSER.peer_id}" in out
    assert "FAIL, 64 of 128 tokens are in receipts for other bits" in out
    assert out.splitlines()[-1].startswith(f"CONVICTED: peer {CHEAT.peer_id}")


@pytest.mark.parametrize("promised", [True, False])
def test_honest_work_does_not_convict(tmp_path, examine, inputs, announced, weights, promised):
    numerics_id = announced.numerics_id if promised else "of another machine"
    bundle = sign(HONEST, inputs[0], prefill(announced, inputs[0]), weights, numerics_id)
    status, out, _ = examine(write(tmp_path / "evidence", bundle))
    assert status == REFUTED
    assert "PASS" in out
    assert out.splitlines()[-1].startswith(f"NOT CONVICTED: peer {HONEST.peer_id}")


def test_an_answer_that_was_not_computed_convicts_by_distance(tmp_path, examine, inputs, weights):
    status, out, _ = examine(write(tmp_path / "evidence", sign(CHEAT, inputs[0], inputs[0], weights)), "--json")
    assert status == 0
    result = json.loads(out)
    assert result["peers"] == [
        {"peer_id": CHEAT.peer_id, "convicted": True, "counted": 1, "nats": pytest.approx(7.0), "alarm": 14.0,
         "conclusion": result["peers"][0]["conclusion"]}
    ]  # fmt: skip
    assert (result["files"][0]["verdict"], result["files"][0]["method"]) == ("FAIL", "tolerant")


def test_suspicions_add_up_to_a_conviction(tmp_path, examine, suspicious):
    files = [write(tmp_path / f"evidence{index}", bundle) for index, bundle in enumerate(suspicious)]
    status, out, _ = examine(files[0])
    assert status == REFUTED
    assert "SUSPECT" in out
    status, out, _ = examine(*files)
    assert status == 0
    assert out.count("SUSPECT") == len(files)
    assert "CONVICTED" in out.splitlines()[-1]
    assert "limits     measured on 'demo'" in out
    assert "provided that no audits that it passed were left out" in out.splitlines()[-1]


def test_the_same_work_counts_once_in_however_many_files(tmp_path, examine, suspicious):
    again = replace(suspicious[0], model="the same under another name")
    files = [write(tmp_path / f"evidence{index}", suspicious[0]) for index in range(3)]
    files.append(write(tmp_path / "again", again, HONEST))
    status, out, _ = examine(*files)
    assert status == REFUTED
    assert "1 piece of evidence" in out.splitlines()[-1]


def test_of_two_accused_each_gets_a_verdict(tmp_path, examine, inputs, announced, weights):
    files = [
        write(tmp_path / "cheat", sign(CHEAT, inputs[0], inputs[0], weights)),
        write(tmp_path / "honest", sign(HONEST, inputs[0], prefill(announced, inputs[0]), weights)),
    ]
    status, out, _ = examine(*files)
    assert status == REFUTED
    assert [line.split(":")[0] for line in out.splitlines()[-2:]] == ["CONVICTED", "NOT CONVICTED"]
