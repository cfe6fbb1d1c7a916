"""Evidence and proofs, examined by somebody who was not there: with the model's files, or with nothing."""

import json
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
import torch

from swarm.cli import evidence as cli
from swarm.home import evidence_folder, standing_file
from swarm.model import BlockRange
from swarm.model.ends import ModelEnds
from swarm.model.identity import block_digest, weights_root
from swarm.verify.audit.calibration import text_segments
from swarm.verify.audit.case import Case
from swarm.verify.audit.reexecution import prefill
from swarm.verify.audit.variants import Announced, cheaper, per_channel
from swarm.verify.fraud.evidence import MAX_POSITIONS, Bundle
from swarm.verify.fraud.proofs import EQUIVOCATION, Proof
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import codec
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

BLOCKS = 0, 2
TOKENS = 128
CHEAT, HONEST, ACCUSER = Identity(), Identity(), Identity()


@pytest.fixture(scope="module")
def weights(demo_checkpoint) -> bytes:
    return weights_root(block_digest(demo_checkpoint, block) for block in range(*BLOCKS))


@pytest.fixture(scope="module")
def inputs(demo_checkpoint) -> list[torch.Tensor]:
    """Of four sessions, [TOKENS, hidden_size]."""
    ends = ModelEnds.load(demo_checkpoint, torch.float32, "float32")
    return [ends.embed(text[:TOKENS]).bfloat16() for text in text_segments(demo_checkpoint, 4)]


@pytest.fixture(scope="module")
def announced(demo_checkpoint) -> BlockRange:
    return BlockRange.load(demo_checkpoint, *BLOCKS, torch.bfloat16, threads=1)


def sign(peer: Identity, x: torch.Tensor, y: torch.Tensor, weights: bytes, numerics_id: str = "") -> Bundle:
    """Evidence against a peer that gave y for x, signing as servers do."""
    terms = Terms(new_session_id(), 1, peer.address, *BLOCKS, weights, "none/bfloat16", numerics_id,
                  codec.wire_dtype(torch.bfloat16), NOTHING)  # fmt: skip
    signed: list[SignedReceipt] = []
    writer = ReceiptWriter(peer, terms, signed.append)
    rows = codec.to_rows(x, torch.bfloat16), codec.to_rows(y, torch.bfloat16)
    for start in range(0, len(x), 64):
        part = slice(start, start + 64)
        writer.record(start, rows[0][part], rows[1][part])
        writer.seal()
    return Bundle(Case(tuple(signed), 0, *rows), "demo", "a revision")


def write(path: Path, bundle: Bundle, accuser: Identity = ACCUSER) -> str:
    path.write_bytes(bundle.encode(accuser))
    return str(path)


@pytest.fixture
def examine(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main(["examine", *map(str, arguments), "--threads", "1"])
        return status, *capsys.readouterr()

    return run


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
    assert status == cli.NOT_CONVICTED
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


@pytest.fixture(scope="module")
def suspicious(demo_checkpoint, inputs, weights) -> list[Bundle]:
    """Two blocks with cheaper weights are a little off, and alike on every processor."""
    run = cheaper(Announced(demo_checkpoint, *BLOCKS, "none", torch.bfloat16), per_channel)
    return [sign(CHEAT, x, run(x), weights) for x in inputs]


def test_suspicions_add_up_to_a_conviction(tmp_path, examine, suspicious):
    files = [write(tmp_path / f"evidence{index}", bundle) for index, bundle in enumerate(suspicious)]
    status, out, _ = examine(files[0])
    assert status == cli.NOT_CONVICTED
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
    assert status == cli.NOT_CONVICTED
    assert "1 piece of evidence" in out.splitlines()[-1]


def test_of_two_accused_each_gets_a_verdict(tmp_path, examine, inputs, announced, weights):
    files = [
        write(tmp_path / "cheat", sign(CHEAT, inputs[0], inputs[0], weights)),
        write(tmp_path / "honest", sign(HONEST, inputs[0], prefill(announced, inputs[0]), weights)),
    ]
    status, out, _ = examine(*files)
    assert status == cli.NOT_CONVICTED
    assert [line.split(":")[0] for line in out.splitlines()[-2:]] == ["CONVICTED", "NOT CONVICTED"]


# --- hostile files -------------------------------------------------------------------------------------------------


def repacked(bundle: Bundle, **changes: object) -> bytes:
    """The file with other parts, correctly signed by its accuser."""
    parts = ["model", "revision", "receipts", "first", "columns", "inputs", "outputs"]
    values = dict(zip(parts, msgpack.unpackb(bundle._payload()), strict=True)) | changes
    payload = msgpack.packb(list(values.values()))
    return msgpack.packb([1, payload, ACCUSER.peer_id, ACCUSER.sign(b"swarm/evidence/v1", payload)])


def narrow(weights: bytes) -> bytes:
    """A million tokens of one number each, which really were signed for: as the accuser is the accused."""
    count = MAX_POSITIONS + 1
    terms = Terms(new_session_id(), 1, CHEAT.address, *BLOCKS, weights, "none/bfloat16", "", 2, NOTHING)
    writer_out: list[SignedReceipt] = []
    writer = ReceiptWriter(CHEAT, terms, writer_out.append)
    row = codec.to_rows(torch.zeros(1, 8), torch.bfloat16)
    writer.record(0, row, row)
    writer.seal()
    receipt = replace(writer_out[0].receipt, count=count).sign(CHEAT).encode()
    payload = msgpack.packb(["demo", "r", [receipt], 0, 1, bytes(2 * count), b""])
    return msgpack.packb([1, payload, ACCUSER.peer_id, ACCUSER.sign(b"swarm/evidence/v1", payload)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bundle: b"", "not msgpack"),
        (lambda bundle: b"\xc1" * 100, "not msgpack"),
        (lambda bundle: msgpack.packb([1, b"", "x", b""]), "a signature has"),
        (lambda bundle: bundle.encode(ACCUSER)[:-1] + b"\x07", "malformed signature|not signed"),
        (lambda bundle: bundle.encode(ACCUSER).replace(b"a revision", b"b revision"), "has not signed|malformed"),
        (lambda bundle: repacked(bundle, receipts=[]), "without receipts"),
        (lambda bundle: repacked(bundle, columns=7), "bytes for 128 positions"),
        (lambda bundle: repacked(bundle, inputs=b""), "0 bytes for"),
        (lambda bundle: repacked(bundle, outputs=b"\0"), "not whole rows"),
        (lambda bundle: repacked(bundle, inputs=bytes(TOKENS * 576 * 2)), "not those that were signed for"),
        (lambda bundle: repacked(bundle, first=1), "no receipt begins at position 1"),
        (lambda bundle: narrow(bundle.case.terms.weights), "positions"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_in_one_line(tmp_path, examine, suspicious, change, message):
    file = tmp_path / "hostile"
    file.write_bytes(change(suspicious[0]))
    status, out, err = examine(file)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {file}: ")
    assert len(err.splitlines()) == 1
    assert any(part in err for part in message.split("|")), err


def other(bundle: Bundle, x: torch.Tensor, **changes: object) -> Bundle:
    """Evidence of the same form about something else."""
    terms = replace(bundle.case.terms, **changes)
    signed: list[SignedReceipt] = []
    writer = ReceiptWriter(CHEAT, terms, signed.append)
    rows = codec.to_rows(x, torch.bfloat16)
    writer.record(0, rows, rows)
    writer.seal()
    return Bundle(Case(tuple(signed), 0, rows, rows), "demo", "r")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": bytes(32)}, "other weights than those of 'demo'"),
        ({"stop": 31}, "outside this model, which has 30 blocks"),
        ({"format": "int2/bfloat16"}, "is not a format like int4/bfloat16"),
        ({"format": "none/float64"}, "is not a format like int4/bfloat16"),
    ],
)
def test_evidence_about_what_is_not_here_is_refused(tmp_path, examine, suspicious, inputs, changes, message):
    status, _, err = examine(write(tmp_path / "evidence", other(suspicious[0], inputs[0], **changes)))
    assert status == 1
    assert message in err


def test_evidence_about_another_model_is_refused(tmp_path, examine, suspicious):
    status, _, err = examine(write(tmp_path / "evidence", other(suspicious[0], torch.zeros(4, 64))))
    assert status == 1
    assert "64 numbers a token about a model that has 576" in err


def test_evidence_about_more_than_the_context_is_refused(tmp_path, examine, suspicious):
    status, _, err = examine(write(tmp_path / "evidence", other(suspicious[0], torch.zeros(8193, 576))))
    assert status == 1
    assert "evidence about 8193 tokens" in err


# --- what is kept, and proofs --------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def proof(suspicious) -> Proof:
    first = suspicious[0].case.receipts[0]
    return Proof.of(EQUIVOCATION, [first, replace(first.receipt, outputs=bytes(32)).sign(CHEAT)])


def test_the_list_names_what_is_kept_and_what_is_broken(home, capsys, suspicious, proof):
    evidence_folder().mkdir()
    write(evidence_folder() / "one.evidence", suspicious[0])
    (evidence_folder() / "two.evidence").write_bytes(b"nonsense")
    reputation = ReputationStore(standing_file())
    reputation.convict(CHEAT.peer_id, proof.kind, proof.encode())
    reputation.close()
    assert cli.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "blocks 0:2, positions 0:128" in shown
    assert "not an evidence file" in shown
    assert CHEAT.peer_id in shown
    assert cli.main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [file["error"] != "" for file in listed["files"]] == [False, True]
    assert listed["proofs"] == [{"accused": CHEAT.peer_id, "kind": "equivocation"}]


def test_without_anything_the_list_says_so(home, capsys):
    assert cli.main(["list"]) == 0
    assert "nobody convicted" in capsys.readouterr().out


def test_a_conviction_can_be_handed_on_and_checked(home, capsys, proof):
    reputation = ReputationStore(standing_file())
    reputation.convict(CHEAT.peer_id, proof.kind, proof.encode())
    reputation.close()
    file = str(home / "proof")
    assert cli.main(["save", CHEAT.peer_id[-8:], "-o", file]) == 0
    assert cli.main(["proof", file]) == 0
    assert f"CONVICTED: peer {CHEAT.peer_id} of equivocation" in capsys.readouterr().out


def test_a_conviction_that_rests_on_a_file_of_evidence_is_not_handed_on_as_a_proof(home, capsys):
    reputation = ReputationStore(standing_file())
    reputation.convict(CHEAT.peer_id, "audit", bytes(32))
    reputation.close()
    assert cli.main(["save", CHEAT.peer_id, "-o", str(home / "proof")]) == 1
    assert "rests on a file of evidence" in capsys.readouterr().err
    assert not (home / "proof").exists()


@pytest.mark.parametrize("data", [b"", b"\x93\x01\xa1x\x90", b"\x00" * 100_000, b"\xdd\xff\xff\xff\xff"])
def test_a_hostile_proof_is_refused_in_one_line(tmp_path, capsys, data):
    file = tmp_path / "proof"
    file.write_bytes(data)
    assert cli.main(["proof", str(file)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {file}: ")
    assert len(err.splitlines()) == 1
