"""A key that moves from one machine to another, with what protects its owner."""

import asyncio
import io
import json
import os
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from swarm.cli import identity as identity_verb
from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.home import (
    claimed_identity,
    client_identity,
    commitments_folder,
    evidence_folder,
    moving,
    payments_file,
    receipts_file,
    standing_file,
)
from swarm.home.identities import client_key_file, held_key, key_slots, moved_file
from swarm.home.moving import export, take_in
from swarm.home.places import Place, Ports
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.reputation.store import ReputationStore
from swarm.wire.identity import Identity

LEDGER, CHANNEL, SESSION = bytes(32), bytes([1]) * 32, bytes([2]) * 16


def voucher() -> SignedVoucher:
    return Voucher(LEDGER, CHANNEL, 77, bytes(32)).sign(Identity())


def serve_a_while() -> tuple[Identity, Path, SignedVoucher]:
    """What a server has by then: vouchers, openings, commitments, ports."""
    with claimed_identity() as (identity, key):
        with closing(PaymentStore(payments_file(identity.peer_id))) as payments:
            payments.keep(signed := voucher())
        with closing(ReceiptStore(receipts_file(identity.peer_id))) as receipts:
            assert asyncio.run(receipts.remember_opening(SESSION, 0, 1))
        Place.of(identity.peer_id).remember(port=20_001, dht_port=20_002)
        commitments_folder().mkdir(parents=True)
        (commitments_folder() / f"{'a' * 16}-{identity.address.hex()}-3.payload").write_bytes(b"points")
        (commitments_folder() / f"{'a' * 16}-{'b' * 40}-3.payload").write_bytes(b"another's")
    return identity, key, signed


def test_a_server_goes_on_elsewhere_with_its_money_and_what_it_must_not_forget(machines):
    identity, key, signed = serve_a_while()
    assert export(key, machines.archive).peer_id == identity.peer_id
    home = machines.use("second")
    moved = take_in(machines.archive)
    assert (moved.peer_id, moved.files) == (identity.peer_id, 4)
    with claimed_identity() as (there, _):
        assert there.peer_id == identity.peer_id
    with closing(PaymentStore(payments_file(identity.peer_id))) as payments:
        assert [one.encode() for one in payments.vouchers(LEDGER)] == [signed.encode()]
    with closing(ReceiptStore(receipts_file(identity.peer_id))) as receipts:
        assert not asyncio.run(receipts.remember_opening(SESSION, 0, 1))  # a client cannot have it done twice
    assert Place.of(identity.peer_id).ports == Ports(20_001, 20_002)
    assert [file.read_bytes() for file in commitments_folder().iterdir()] == [b"points"]
    for file in [machines.archive, *(file for file in home.rglob("*") if file.is_file() and file.suffix != ".lock")]:
        if file.name.endswith((".db-wal", ".db-shm")):
            continue
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_what_was_moved_is_not_used_where_it_came_from(machines, caplog):
    identity, key, _ = serve_a_while()
    export(key, machines.archive)
    with pytest.raises(SwarmError, match="was moved to another machine") as error:
        claimed_identity(key).__enter__()
    with claimed_identity() as (other, slot):  # not told which: with a key of its own, and it says so
        assert other.peer_id != identity.peer_id and slot == key_slots()[1]
    assert "was moved to another machine" in caplog.text
    with pytest.raises(SwarmError, match="was moved"):
        export(key, machines.archive.with_name("again"))
    assert str(moved_file(key)) in str(error.value)
    moved_file(key).unlink()  # unless somebody says otherwise
    with claimed_identity(key) as (again, _):
        assert again.peer_id == identity.peer_id


def test_a_key_in_use_stays(machines):
    with claimed_identity() as (_, key), pytest.raises(SwarmError, match="in use"):
        export(key, machines.archive)
    clients = [client_identity(), client_identity()]  # which share it
    while clients:
        with pytest.raises(SwarmError, match="in use"):
            export(client_key_file(), machines.archive)
        clients.pop()
    assert not machines.archive.exists() and not moved_file(client_key_file()).exists()


def test_a_key_comes_back_with_what_happened_meanwhile(machines):
    identity, key, _ = serve_a_while()
    export(key, machines.archive)
    machines.use("second")
    take_in(machines.archive)
    with closing(PaymentStore(payments_file(identity.peer_id))) as payments:
        payments.keep(newer := Voucher(LEDGER, CHANNEL, 99, bytes(32)).sign(Identity()))
    export(key_slots()[0], machines.archive.with_name("back"))
    machines.use("first")
    assert take_in(machines.archive.with_name("back")).key == key
    with claimed_identity() as (again, slot):
        assert (again.peer_id, slot) == (identity.peer_id, key)
    with closing(PaymentStore(payments_file(identity.peer_id))) as payments:
        assert [one.encode() for one in payments.vouchers(LEDGER)] == [newer.encode()]


def test_a_client_takes_its_bills_its_evidence_and_what_it_knows_of_peers_along(machines):
    own = client_identity().peer_id
    with closing(ReputationStore(standing_file())) as reputation:
        reputation.convict("cheat", "audit", b"proof")
    evidence_folder().mkdir()
    (evidence_folder() / "abcdefgh-0123456789ab.evidence").write_bytes(b"evidence")
    export(client_key_file(), machines.archive)
    with pytest.raises(SwarmError, match="was moved"):
        client_identity()
    machines.use("second")
    take_in(machines.archive)
    assert client_identity().peer_id == own
    with closing(ReputationStore(standing_file())) as reputation:
        assert reputation.is_convicted("cheat")
    assert [file.read_bytes() for file in evidence_folder().iterdir()] == [b"evidence"]


def test_nothing_is_overwritten(machines):
    _, key, _ = serve_a_while()
    archive = machines.archive
    export(key, archive)
    with pytest.raises(SwarmError, match="exists"):
        export(client_key_file(), archive)
    machines.use("second")
    take_in(archive)
    with pytest.raises(SwarmError, match="on this machine already"):
        take_in(archive)
    machines.use("third")
    theirs = client_identity().peer_id
    export(client_key_file(), archive.with_name("client"))
    machines.use("second")
    client_identity()
    with pytest.raises(SwarmError, match="another key"):
        take_in(archive.with_name("client"))
    assert client_identity().peer_id != theirs


def rewritten(archive: Path, **changes: bytes | None) -> Path:
    """A copy, in which members are changed, added, or left out."""
    members: dict[str, bytes | None] = {}
    with tarfile.open(archive) as opened:
        members = {header.name: opened.extractfile(header).read() for header in opened}
    copy = archive.with_name("changed")
    with tarfile.open(copy, "w") as opened:
        for name, data in {**members, **changes}.items():
            if data is not None:
                header = tarfile.TarInfo(name)
                header.size = len(data)
                opened.addfile(header, io.BytesIO(data))
    return copy


def test_a_key_is_moved_once(machines, monkeypatch):
    """Two who move it at once are not both told that nobody else has."""
    _, key, _ = serve_a_while()
    real, other = moving._belongings, machines.archive.with_name("other")

    def meanwhile(*arguments: object) -> object:
        with pytest.raises(SwarmError, match="in use"):
            export(key, other)
        return real(*arguments)

    monkeypatch.setattr(moving, "_belongings", meanwhile)
    export(key, machines.archive)
    assert not other.exists()


def test_no_client_begins_while_its_key_is_moved(machines):
    client_identity()
    with held_key(client_key_file()), pytest.raises(SwarmError, match="is being moved; try again"):
        client_identity()


class Killed(BaseException):
    pass


def killed_at(write: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the files that are written, from 0."""
    left, real = iter(range(write + 1)), moving.write_whole

    def write_whole(*arguments: object, **more: object) -> None:
        if next(left, None) == write:
            raise Killed
        real(*arguments, **more)

    monkeypatch.setattr(moving, "write_whole", write_whole)


@pytest.mark.parametrize("write", range(1, 6))
def test_an_import_that_was_cut_short_is_done_again_and_nobody_is_that_peer_before(
    machines, monkeypatch, caplog, write
):
    identity, key, signed = serve_a_while()
    export(key, machines.archive)
    machines.use("second")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(write, patch)
        take_in(machines.archive)
    with claimed_identity() as (other, slot):
        assert other.peer_id != identity.peer_id and slot == key_slots()[1]
    assert "was cut short; import it again" in caplog.text
    assert take_in(machines.archive).key == key_slots()[0]
    with claimed_identity() as (there, _):
        assert there.peer_id == identity.peer_id
    with closing(PaymentStore(payments_file(identity.peer_id))) as payments:
        assert [one.encode() for one in payments.vouchers(LEDGER)] == [signed.encode()]


def test_no_other_client_begins_where_an_import_was_cut_short(machines, monkeypatch):
    own = client_identity().peer_id
    export(client_key_file(), machines.archive)
    machines.use("second")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(1, patch)
        take_in(machines.archive)
    with pytest.raises(SwarmError, match="was cut short; import it again"):
        client_identity()
    take_in(machines.archive)
    assert client_identity().peer_id == own


def test_an_archive_that_is_none_or_holds_more_is_refused(machines):
    _, key, _ = serve_a_while()
    export(key, machines.archive)
    home = machines.use("second")
    manifest = json.dumps({"format": 1, "is_client": False, "peer_id": Identity().peer_id}).encode()
    newer = json.dumps({"format": 2, "is_client": False, "peer_id": ""}).encode()
    bad = [
        {"../../outside": b"x"},
        {"client.key": b"x"},
        {"receipts/client.db": b"x"},
        {"manifest.json": None},
        {"manifest.json": manifest},
        {"manifest.json": newer},
    ]
    for changes in bad:
        with pytest.raises(InvalidRequest):
            take_in(rewritten(machines.archive, **changes))
    with pytest.raises(SwarmError, match="identity file"):
        take_in(rewritten(machines.archive, key=b"junk"))
    (machines.archive.with_name("junk")).write_bytes(b"junk")
    with pytest.raises(InvalidRequest, match="is no key that was exported"):
        take_in(machines.archive.with_name("junk"))
    assert not list(home.rglob("*.key")) and not (home.parent / "outside").exists()


def test_from_the_command_line(machines, capsys):
    identity, _, _ = serve_a_while()
    archive = str(machines.archive)
    assert identity_verb.main(["export", "0", archive]) == 0
    assert identity.peer_id in capsys.readouterr().out
    assert identity_verb.main(["keys"]) == 0
    assert "moved away" in capsys.readouterr().out
    machines.use("second")
    assert identity_verb.main(["import", archive]) == 0
    assert f"Delete {archive} now" in capsys.readouterr().out
    assert identity_verb.main(["export", "7", archive + "2"]) == 1
    assert "there is no key in" in capsys.readouterr().err


def test_a_key_to_export_is_named_by_the_end_of_its_peer_id(machines, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    peer_id = serve_a_while()[0].peer_id
    assert identity_verb.main(["export", "tJpXSNer", "moved.key"]) == 1
    told = capsys.readouterr().err
    assert "there is no key in tJpXSNer, and as the end of a peer's id: " in told and peer_id[-8:] in told
    assert identity_verb.main(["export", peer_id[-8:], "moved.key"]) == 0
    assert f"holds the key of {peer_id}" in capsys.readouterr().out


def test_what_is_no_archive_is_refused_before_it_is_read(machines, tmp_path):
    huge, pipe = tmp_path / "huge", tmp_path / "pipe"
    os.mkfifo(pipe)
    huge.touch()
    for size, said in ((2**30, "holds no key that was exported"), (2**40, "is larger than any key")):
        os.truncate(huge, size)
        with pytest.raises(UnusableFile, match=said):
            take_in(huge)
    for file in (pipe, Path("/dev/zero")):
        with pytest.raises(UnusableFile, match="is no regular file"):
            take_in(file)
