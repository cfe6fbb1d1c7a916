"""`python -m swarm ledger`, as an account holder uses it."""

import csv
import json
import sqlite3
from contextlib import closing

import pytest

from ledgers import KEYS, RULES, remote
from swarm.cli import earnings
from swarm.cli.ledger import verbs as command
from swarm.cli.support.exits import FAILED, REFUTED, WRONG
from swarm.home import client_identity, ledger_folder
from swarm.home.identities import key_slots
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import Identity

ALICE = KEYS["alice"].address


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_LEDGER", raising=False)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs a verb that is to succeed; returns what it prints."""

    def run(*arguments: object, status: int = 0) -> str:
        assert command.main([*map(str, arguments)]) == status
        output = capsys.readouterr()
        return output.err if status else output.out

    return run


def test_credits_are_made_given_and_counted(run):
    me = client_identity()
    run("mint", me.peer_id, "2.5")  # the machine's own ledger, made when first used
    assert "2.49999975 " in run("transfer", format_address(ALICE), "250n")
    mine, hers = (json.loads(run("balance", *address, "--json")) for address in ([], [format_address(ALICE)]))
    assert mine["available"] == mine["total"] == 2_500_000_000 - 250
    assert (hers["address"], hers["available"]) == (format_address(ALICE), 250)


def test_a_name_that_is_no_peers_here_is_refused_in_one_line(run):
    assert "no peer that is a server of this machine" in run("transfer", "LLNv55aa", "1", status=WRONG)
    for name in ("x", "alice", "0x12", "100"):
        assert f"{name!r} is no address; write 0x and 40 hex digits" in run("balance", name, status=WRONG)
        assert "write 0x and 40 hex digits" in run("transfer", name, "5", status=WRONG)


def test_where_no_server_was_paid_earnings_say_how_one_earns(capsys):
    assert earnings.main([]) == FAILED
    assert capsys.readouterr().err.endswith("one that is to earn is started with --ledger\n")


def test_where_nobody_is_meant_no_ledger_is_made(run):
    for verb in (["mint"], ["transfer"]):
        assert "an address is 0x and 40 hex digits" in run(*verb, "bobby", "1", status=WRONG)
    assert "no address" in run("mint", "100", "me", status=WRONG)
    assert not ledger_folder().exists()


def test_what_nothing_backs_is_not_redeemed(run):
    run("mint", "me", "1")
    assert "only those of a ledger on a chain" in run("redeem", "1", status=1)
    assert json.loads(run("balance", "--json"))["available"] == CREDIT


def test_the_same_ledger_is_named_by_an_option_or_by_the_environment(run, home, monkeypatch):
    elsewhere = home / "elsewhere"
    run("mint", format_address(ALICE), "1", "--ledger", elsewhere)
    monkeypatch.setenv("SWARM_LEDGER", str(elsewhere))
    assert json.loads(run("balance", format_address(ALICE), "--json"))["total"] == CREDIT
    assert not ledger_folder().exists()


def test_a_ledger_on_another_machine_is_used_like_ones_own(run, home):
    with remote(home / "service", RULES) as world:
        world.issuer.mint(ALICE, CREDIT)
        key = home / "alice.key"
        key.write_bytes(b"\x08\x02\x12\x20" + b"alice".rjust(32, b"\1"))
        options = ("--ledger", world.alice.where, "--identity", key)
        run("transfer", format_address(KEYS["bob"].address), "0.25", *options)
        assert world.bob.account().available == CREDIT // 4
        assert "It holds" in run("audit", *options)
        assert "only the ledger of a folder" in run("backup", home / "copy.db", *options, status=WRONG)


def test_stake_is_bonded_and_comes_back_later(run):
    run("mint", client_identity().peer_id, "10")
    run("stake", "bond", "4")
    shown = json.loads(run("stake", "unbond", "1", "--json"))
    assert (shown["staked"], shown["unbonding"]) == (3 * CREDIT, CREDIT)
    assert [part["amount"] for part in shown["parts"]] == [CREDIT]
    assert run("stake", "withdraw") == "0 credits are back\n"
    assert "from 20" in run("stake", "show")


@pytest.fixture
def server_key():
    """A server's key on this machine, with a credit at stake and one that it earned, and its file."""
    key = key_slots()[0]
    key.parent.mkdir(parents=True)
    server = Identity.load_or_create(key)
    issuer = open_ledger(str(ledger_folder()), client_identity())
    issuer.mint(server.address, 2 * CREDIT)
    open_ledger(str(ledger_folder()), server).bond(CREDIT)
    return server, key


def test_who_takes_back_what_a_server_here_has_is_told_its_key(run, server_key):
    key = server_key[1]
    told = run("stake", "unbond", "1", status=FAILED)
    assert "has 0 staked, and not 1; " in told
    assert told.endswith(f"the key in {key} has 1 staked: add --identity {key}\n")
    assert f"has 1 available: add --identity {key}" in run("transfer", format_address(ALICE), "1", status=FAILED)
    assert "add --identity" not in run("stake", "unbond", "5", "--identity", key, status=FAILED)


def test_a_servers_stake_and_earnings_go_to_an_account_of_its_owners_choice(run, server_key):
    server, key = server_key
    assert json.loads(run("stake", "unbond", "1", "--json", "--identity", server.peer_id[-8:]))["unbonding"] == CREDIT
    run("transfer", format_address(ALICE), "1", "--identity", key)
    assert json.loads(run("balance", format_address(ALICE), "--json"))["available"] == CREDIT


def test_to_transfer_to_oneself_is_refused(run, server_key):
    for own in ([], ["--identity", server_key[1]]):
        assert "is this account itself: nothing moves" in run("transfer", "me", "0.5", *own, status=WRONG)


@pytest.mark.parametrize("verb", [["stake", "unbond", "1"], ["balance"], ["serve"]])
@pytest.mark.parametrize("name", ["tJpXSNer", "no/such.key"])
def test_no_key_is_made_for_a_name_that_is_none(run, home, monkeypatch, server_key, verb, name):
    monkeypatch.chdir(home)
    told = run(*verb, "--identity", name, status=FAILED)
    assert f"there is no key in {name}" in told
    assert name == "no/such.key" or server_key[0].peer_id[-8:] in told
    assert not (home / name).exists()


def test_a_payer_asks_for_a_channel_to_be_closed_and_a_payee_closes_it(run, home):
    key = home / "bob.key"
    bob = Identity.load_or_create(key)
    run("mint", client_identity().peer_id, "10")
    ledger = open_ledger(str(ledger_folder()), client_identity())
    first, second = (ledger.open_channel(bob.address, CREDIT) for _ in range(2))
    assert "do this again to get the rest" in run("close", first.id.hex()[:16])
    assert "the payee may settle until" in run("close", first.id.hex()[:16], status=1)
    assert run("close", second.id.hex()[:16], "--identity", key).endswith(": closed\n")
    shown = [json.loads(line) for line in run("channels", "--all", "--json").splitlines()]
    assert [(one["id"], one["is_closed"]) for one in shown] == [(first.id.hex(), False), (second.id.hex(), True)]
    assert second.id.hex() not in run("channels")
    assert "0 open channels" in run("close", "ff" * 32, status=WRONG)


def test_history_has_a_line_for_every_line_of_an_entry(run):
    run("mint", client_identity().peer_id, "10")
    run("transfer", format_address(ALICE), "1")
    rows = list(csv.DictReader(run("history", format_address(ALICE), "--csv").splitlines()))
    assert [(row["kind"], row["bucket"], row["amount"]) for row in rows] == [
        ("transfer", "available", str(-CREDIT)), ("transfer", "available", str(CREDIT))
    ]  # fmt: skip
    entries = [json.loads(line) for line in run("history", "--all", "--json").splitlines()]
    assert [entry["kind"] for entry in entries] == ["genesis", "mint", "transfer"]
    assert [entry["number"] for entry in entries] == [0, 1, 2]
    assert "transfer" in run("history", "--first", "2")


def test_an_audit_says_what_everybody_owns_or_what_is_wrong(run):
    run("mint", format_address(ALICE), "10")
    verdict = run("audit").splitlines()[-1]
    assert verdict.startswith("It holds: 2 entries, the last ")
    assert verdict.endswith("; 10 credits minted, 0 burned.")
    report = json.loads(run("audit", "--json"))
    assert report["holds"]
    assert report["accounts"][format_address(ALICE)]["total"] == report["minted"] == 10 * CREDIT
    rows = list(csv.DictReader(run("audit", "--csv").splitlines()))
    assert [(row["address"], row["total"]) for row in rows] == [(format_address(ALICE), str(10 * CREDIT))]
    with closing(sqlite3.connect(ledger_folder() / "ledger.db")) as database, database:
        database.execute("UPDATE account SET available = available + 1")
    assert command.main(["audit"]) == REFUTED


def test_an_audit_makes_no_ledger(run, home):
    assert "there is no ledger in" in run("audit", "--ledger", home / "nowhere", status=1)
    assert not (home / "nowhere").exists()


def test_entries_are_exported_as_they_are_signed(run, home):
    run("mint", format_address(ALICE), "10")
    run("export", home / "book.jsonl")
    lines = (home / "book.jsonl").read_text().splitlines()
    records = [Record.decode(bytes.fromhex(json.loads(line)["signed"])) for line in lines]
    assert [record.order.order.kind for record in records] == ["genesis", "mint"]
    assert run("export", "-") == (home / "book.jsonl").read_text()


def test_a_backup_is_a_ledger(run, home):
    run("mint", format_address(ALICE), "10")
    run("backup", home / "copy.db")
    assert json.loads(run("balance", format_address(ALICE), "--ledger", home / "copy.db", "--json"))["total"] > 0


@pytest.mark.parametrize("arguments", [
    ["mint", "0x12", "1"], ["mint", "nobody", "1"], ["mint", format_address(ALICE), "1e3"],
    ["transfer", format_address(ALICE), "1"], ["history", "--all", format_address(ALICE)],
    ["balance", "--ledger", "evm:/nowhere.json"],
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(run, arguments):
    error = run(*arguments, status=FAILED if arguments[0] == "transfer" or "evm:/nowhere.json" in arguments else WRONG)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
