"""Files of evidence: hostile ones, what is kept, and proofs."""

import json
from dataclasses import replace

import msgpack
import pytest
import torch

from disks import small_files
from evidence_cases import ACCUSER, BLOCKS, CHEAT, TOKENS, write
from swarm.cli import evidence as cli
from swarm.cli.support.exits import FAILED, WRONG
from swarm.errors import UnusableFile
from swarm.home import evidence_folder, standing_file
from swarm.verify.audit.case import Case
from swarm.verify.fraud.evidence import MAX_POSITIONS, Bundle, write_evidence
from swarm.verify.fraud.proofs import EQUIVOCATION, MAX_PROOF_BYTES, Proof
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import codec
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.session_id import new_session_id

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
    assert (status, out) == (FAILED, "")
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
    assert status in (FAILED, WRONG)
    assert message in err


def test_evidence_about_another_model_is_refused(tmp_path, examine, suspicious):
    status, _, err = examine(write(tmp_path / "evidence", other(suspicious[0], torch.zeros(4, 64))))
    assert status == WRONG
    assert "64 numbers a token about a model that has 576" in err


def test_evidence_about_more_than_the_context_is_refused(tmp_path, examine, suspicious):
    status, _, err = examine(write(tmp_path / "evidence", other(suspicious[0], torch.zeros(8193, 576))))
    assert status == WRONG
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
    assert cli.main(["save", CHEAT.peer_id, "-o", str(home / "proof")]) == WRONG
    assert "rests on a file of evidence" in capsys.readouterr().err
    assert not (home / "proof").exists()


@pytest.mark.parametrize("data", [b"", b"\x93\x01\xa1x\x90", b"\x00" * 100_000, b"\xdd\xff\xff\xff\xff"])
def test_a_hostile_proof_is_refused_in_one_line(tmp_path, capsys, data):
    file = tmp_path / "proof"
    file.write_bytes(data)
    assert cli.main(["proof", str(file)]) == FAILED
    err = capsys.readouterr().err
    assert err.startswith(f"error: {file}: ")
    assert len(err.splitlines()) == 1


def test_evidence_that_does_not_fit_on_the_disk_leaves_no_half_of_it(suspicious, tmp_path):
    bundle = suspicious[0]
    data = bundle.encode(ACCUSER)
    with small_files(len(data) // 2):
        assert write_evidence(tmp_path, bundle, data) is None
    assert list(tmp_path.iterdir()) == []
    assert write_evidence(tmp_path, bundle, data).read_bytes() == data


def test_what_is_no_evidence_is_named_once_and_its_length_is_not_what_was_read_of_it(tmp_path, capsys):
    huge = tmp_path / "huge"
    with open(huge, "wb") as file:
        file.truncate(2 * MAX_PROOF_BYTES)
    assert cli.main(["proof", str(huge)]) == FAILED
    assert capsys.readouterr().err == f"error: {huge}: longer than {MAX_PROOF_BYTES} bytes, which no proof is\n"
    with pytest.raises(UnusableFile) as caught:
        cli.examine_file(None, tmp_path)
    assert str(caught.value) == f"{tmp_path}: it cannot be read: Is a directory"
