"""What a ledger answered is on its disk, what it cannot keep it refuses, and it goes on when the disk does."""

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from disks import gone, locked, small_files
from helpers import in_background, wait_until
from swarm.errors import PeerUnreachable, SwarmError
from swarm.market.ledger import sqlite
from swarm.market.ledger.audit import audit
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.rewards.committing import Committer
from swarm.wire.identity import Identity

ISSUER = Identity(bytes([5]) * 32)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(folder, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_S", 0.2)
    folder.mkdir()
    ledger = SqliteLedger(folder / "ledger.db", ISSUER)
    ledger.mint(ISSUER.address, 100)
    yield ledger
    ledger.shut()


def has(ledger: SqliteLedger) -> int:
    return ledger.account(ISSUER.address).available


def test_a_ledger_that_is_locked_can_be_read_and_refuses_orders(ledger, folder):
    with locked(folder / "ledger.db"):
        assert has(ledger) == 100
        with pytest.raises(PeerUnreachable, match=r"the ledger in .* cannot be used: database is locked"):
            ledger.mint(ISSUER.address, 1)
        assert has(ledger) == 100
    ledger.mint(ISSUER.address, 7)
    assert has(ledger) == 107 and audit(folder / "ledger.db").holds


def test_who_reads_does_not_wait_for_an_order_that_waits(ledger, folder):
    """Or the lock would not be let go of before the order has given up."""
    ledger._writer._file.get().execute("PRAGMA busy_timeout=5000")
    with locked(folder / "ledger.db"):
        order = in_background(lambda: ledger.mint(ISSUER.address, 7))
        assert wait_until(lambda: not _is_free(ledger._writer._lock), 20)
        assert has(ledger) == 100
    order.result()
    assert has(ledger) == 107


def _is_free(lock: object) -> bool:
    if lock.acquire(blocking=False):
        lock.release()
        return True
    return False


def test_no_order_is_answered_from_a_file_that_is_gone(ledger, folder, caplog):
    """It used to be written into the file that had been taken away, and was seen by nobody."""
    with gone(folder):
        for ask in (lambda: ledger.mint(ISSUER.address, 1), lambda: has(ledger)):
            for _ in range(2):
                with pytest.raises(PeerUnreachable, match="the file is gone; put it back"):
                    ask()
        assert not folder.exists()
    for _ in range(2):
        ledger.mint(ISSUER.address, 7)
    assert has(ledger) == 114 and audit(folder / "ledger.db").holds
    said = [record.message.removeprefix(f"the ledger in {folder / 'ledger.db'} ") for record in caplog.records]
    gone_s = "the file is gone; put it back, or start again without it"
    why = f"cannot be written: {gone_s}; what is asked of it is refused until then"
    assert said == [why, "can be written again, after 0 s"]


def test_a_copy_of_the_ledger_in_its_place_goes_on_and_another_ledger_does_not(ledger, folder, tmp_path):
    SqliteLedger(tmp_path / "other" / "ledger.db", ISSUER).shut()
    shutil.copytree(folder, tmp_path / "copy")
    with gone(folder):
        (tmp_path / "other").rename(folder)
        with pytest.raises(PeerUnreachable, match="it is another ledger than it was"):
            ledger.mint(ISSUER.address, 1)
        shutil.rmtree(folder)
        (tmp_path / "copy").rename(folder)
        ledger.mint(ISSUER.address, 7)
        assert has(ledger) == 107
        shutil.rmtree(folder)


def test_a_disk_that_is_full_refuses_an_order_and_takes_the_next_one_when_it_is_not(ledger, folder):
    size = os.stat(folder / "ledger.db-wal").st_size
    with small_files(size), pytest.raises(PeerUnreachable, match="cannot be used"):
        for _ in range(100):
            ledger.mint(ISSUER.address, 1)
    before = has(ledger)
    ledger.mint(ISSUER.address, 1)
    assert has(ledger) == before + 1 and audit(folder / "ledger.db").holds


@pytest.mark.parametrize("content, reason", [(b"something else" * 1_000, "not a database"), (b"", "the file is empty")])
def test_a_file_that_cannot_be_read_any_more_makes_the_ledger_unreachable(ledger, folder, content, reason):
    """Another hop may do then, another server, or a later try: nothing that was asked for was refused."""
    with gone(folder):
        folder.mkdir()
        (folder / "ledger.db").write_bytes(content)
        for ask in (lambda: ledger.mint(ISSUER.address, 1), lambda: has(ledger)):
            with pytest.raises(PeerUnreachable, match=reason):
                ask()
        shutil.rmtree(folder)
    assert has(ledger) == 100


def test_a_ledger_that_was_shut_is_not_opened_again(ledger):
    """As by a thread that settles, and was given up."""
    ledger.shut()
    for ask in (lambda: ledger.mint(ISSUER.address, 1), lambda: has(ledger)):
        with pytest.raises(PeerUnreachable, match="was closed here"):
            ask()
    assert ledger._writer._file._database is None and ledger._reader._file._database is None


def test_a_file_with_other_tables_is_no_ledger(folder):
    folder.mkdir()
    with closing(sqlite3.connect(folder / "ledger.db")) as database, database:
        database.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, text TEXT)")
    with pytest.raises(SwarmError, match=r"the ledger in .* its table entry has other columns .*; use a backup"):
        SqliteLedger(folder / "ledger.db", ISSUER)


def test_what_is_said_in_an_epoch_is_forgotten_elsewhere_only_once_the_ledger_has_it(ledger, tmp_path, monkeypatch):
    """Else it is lost if no disk takes it before the next epoch, neither this machine's nor the ledger's."""
    said, committed = [bytes(5000)], []
    committer = Committer(ledger, tmp_path / "commitments", 1.0, lambda epoch: said[0], committed.append)
    monkeypatch.setattr(committer, "_is_late", lambda span: True)
    monkeypatch.setattr("swarm.market.rewards.committing.RETRY_S", 0.0)
    (tmp_path / "commitments").mkdir()
    with small_files(4096), pytest.MonkeyPatch.context() as patch:
        patch.setattr(committer._ledger, "commit", None)  # it does not come to that
        committer.attend()
    assert list((tmp_path / "commitments").iterdir()) == []
    with locked(tmp_path / "ledger" / "ledger.db"):
        committer.attend()
    (file,) = (tmp_path / "commitments").iterdir()
    assert file.read_bytes() == bytes(5000) and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not committed
    for _ in range(2):
        committer.attend()
    assert committed == [bytes(5000)]
