"""`python -m swarm ledger serve`: a process, its backups, its epochs."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from helpers import wait_until
from ledgers import KEYS
from swarm.errors import SwarmError
from swarm.home import client_identity
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.opening import open_ledger
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.rewards.epochs import Epochs
from swarm.wire.formats.amounts import parse_percent
from swarm.wire.formats.receipts import NOTHING
from swarm.wire.identity import Identity

ISSUER, ALICE, BOB, CAROL = KEYS.values()

# --- the process -----------------------------------------------------------------------------------------------------


@contextmanager
def process(*options: object):
    """`python -m swarm ledger serve` and what it says when it is ready."""
    command = [sys.executable, "-m", "swarm", "ledger", "serve", "--json", "--exit-with-parent", *map(str, options)]
    pipe = subprocess.PIPE
    running = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        line = running.stdout.readline()
        yield json.loads(line) if line else running.stderr.read()
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)


def test_a_ledger_keeps_its_name_and_address_and_comes_back_from_its_backup(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    folder, backup = tmp_path / "folder", tmp_path / "backup.db"
    options = ("--folder", folder, "--withdraw-delay", 60, "--burn", "0.5", "--backup", backup)
    with process(*options) as ready:
        assert ready["event"] == "ready"
        ledger = open_ledger(ready["where"], ALICE)
        assert ledger.id.hex() == ready["ledger"]
        assert (ledger.rules.withdraw_delay_s, ledger.rules.burn_ppm) == (60, 5_000)
        ledger.commit(1, bytes(32))
    assert all(stat.S_IMODE(os.stat(folder / name).st_mode) == 0o600 for name in ("ledger.db.key", "tls.pem"))
    assert len(list(SqliteLedger(backup, BOB).history())) == 2  # written at the end, too
    with process("--folder", folder) as again:  # where it was, with nothing said of it
        assert {name: value for name, value in again.items() if name != "pid"} == {
            name: value for name, value in ready.items() if name != "pid"
        }
        with process("--folder", folder) as error:  # users would look for it there, and find another
            assert f"port {ready['port']}, where others know this ledger, cannot be used now" in error
            assert len(error.splitlines()) == 1
        with process("--folder", folder, "--port", 0) as elsewhere:
            assert elsewhere["port"] != ready["port"]
    with process("--folder", folder, "--burn", 1) as error:
        assert "was made with {'burn_ppm': 5000}" in error
    with process("--folder", folder, "--restore", backup) as error:
        assert "move it away before restoring" in error
    with process("--folder", tmp_path / "new", "--restore", backup) as restored:
        assert restored["ledger"] == ready["ledger"]
        assert len(list(open_ledger(restored["where"], BOB).history())) == 2


def test_a_ledger_without_a_folder_to_write_to_or_at_nobodys_address_says_so_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "file"))
    for options, reason in (
        ((), f"{tmp_path / 'file' / 'ledger'} cannot be used"),
        (("--folder", tmp_path / "folder"), f"{tmp_path / 'file'} cannot be used"),
        (("--announce", "nowhere.invalid"), "cannot announce nowhere.invalid"),
    ):
        with process(*options) as error:
            assert reason in error and len(error.splitlines()) == 1


def test_a_backup_that_does_not_hold_is_not_restored(tmp_path):
    (tmp_path / "backup.db").write_bytes(b"junk" * 1_000)
    with process("--folder", tmp_path / "new", "--restore", tmp_path / "backup.db") as error:
        assert "it is damaged" in error


def test_epochs_end_and_are_paid_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    options = ("--folder", tmp_path / "folder", "--burn", 10, "--emission", 1, "--mints", 50, "--epoch", 1)
    with process(*options) as ready:
        issuer = open_ledger(str(tmp_path / "folder"), client_identity())
        issuer.mint(issuer.address, 1_000)
        channel = issuer.open_channel(ALICE.address, 1_000)
        issuer.settle([Voucher(issuer.id, channel.id, 1_000, NOTHING).sign(client_identity())])
        alice = open_ledger(ready["where"], ALICE)
        assert wait_until(lambda: alice.account().available == 950, 30)
        assert wait_until(lambda: sum(span.is_emitted for span in Epochs(alice).read()) > 1, 30)
        assert alice.account().available == 950
    Identity.load_or_create(tmp_path / "other.key")
    with process("--folder", tmp_path / "folder", "--identity", tmp_path / "other.key", "--emission", 1) as error:
        assert "for the issuer of the ledger" in error


def test_percentages_are_exact():
    assert [parse_percent(text) for text in ("0", "0.5", "0.0001", "100")] == [0, 5_000, 1, 1_000_000]
    for text in ("-1", "101", "0.00001", "nan", "x", "inf"):
        with pytest.raises(SwarmError, match="not a percentage"):
            parse_percent(text)
