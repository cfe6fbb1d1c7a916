"""The embedded ledger: what its book proves, and that it stays whole with several processes at it."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import KEYS, RULES, MovableClock, World, sqlite
from swarm.errors import InvalidRequest, LedgerRefusal, SwarmError
from swarm.market.ledger import rules
from swarm.market.ledger.audit import audit
from swarm.market.ledger.backups import copy_ledger
from swarm.market.ledger.book import Book
from swarm.market.ledger.ids import ledger_id
from swarm.market.ledger.ledger import Account, Rules, Supply
from swarm.market.ledger.opening import open_ledger
from swarm.market.ledger.orders import KINDS, SignedOrder, new_order, pack_payments, unpack_payments
from swarm.market.ledger.records import Record
from swarm.market.ledger.sqlite import SqliteLedger, keeper_file
from swarm.wire.identity import Identity

ISSUER, ALICE, BOB, CAROL = KEYS.values()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def world(tmp_path):
    with sqlite(tmp_path, RULES) as world:
        world.issuer.mint(ALICE.address, 1_000)
        yield world


def busy(world: World) -> None:
    """A bit of everything."""
    channel = world.alice.open_channel(BOB.address, 500)
    world.bob.settle([world.voucher(channel, 200)])
    world.alice.request_close(channel.id)
    world.advance(RULES.withdraw_delay_s)
    world.alice.close(channel.id)
    world.bob.bond(100)
    world.bob.unbond(50)
    world.issuer.slash(BOB.address, 60, CAROL.address, os.urandom(32))
    world.alice.commit(1, os.urandom(32))
    world.issuer.end_commits(1)
    world.issuer.emit(1, {CAROL.address: 9})


# --- orders ----------------------------------------------------------------------------------------------------------


def values(kind: str):
    strategies = {
        "address": st.binary(min_size=20, max_size=20), "bytes32": st.binary(min_size=32, max_size=32),
        "uint64": st.integers(0, 2**62), "bytes": st.binary(max_size=50),
    }  # fmt: skip
    return st.tuples(*(strategies[member] for member, _ in KINDS[kind]))


@given(data=st.data(), kind=st.sampled_from(list(KINDS)))
def test_an_order_survives_its_encoding_and_no_byte_of_it_can_be_changed(data, kind):
    signed = new_order(bytes(32), kind, *data.draw(values(kind))).sign(ALICE)
    encoded = signed.encode()
    assert SignedOrder.decode(encoded) == signed
    assert signed.signer == ALICE.address
    changed = bytearray(encoded)
    changed[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = SignedOrder.decode(bytes(changed))
    except InvalidRequest:
        return
    assert other.signer != ALICE.address  # it is somebody's order, but not hers


@given(junk=st.binary(max_size=300))
def test_junk_is_no_order_and_no_entry(junk):
    for kind in (SignedOrder, Record):
        with pytest.raises(InvalidRequest):
            kind.decode(junk)


def test_orders_are_hashed_as_wallets_do_it():
    """The vectors are from eth-account, an implementation of EIP-712 that has nothing in common with this one."""
    nonce = bytes(range(16))
    transfer = new_order(bytes([7]) * 32, "transfer", bytes([9]) * 20, 5)
    reveal = new_order(bytes([7]) * 32, "reveal", 3, b"payload")
    hashes = [type(order)(order.ledger, order.kind, order.values, nonce).hash.hex() for order in (transfer, reveal)]
    assert hashes == [
        "fddae65cf377d54b8fbb8c1578c5b72d0c26f48e00ae9dcfb0812fa7e1e6c3e9",
        "4bb40e84598caeec3d4c9076f8422e3389541a97a789f9350052cd2630f8dae5",
    ]


@given(st.dictionaries(st.binary(min_size=20, max_size=20), st.integers(0, 2**62), max_size=5))
def test_payments_survive_their_encoding(payments):
    assert unpack_payments(pack_payments(payments)) == payments


def test_one_address_is_not_paid_twice_by_one_order():
    twice = pack_payments({ALICE.address: 1}) * 2
    with pytest.raises(InvalidRequest, match="two to one"):
        unpack_payments(twice)


def test_an_order_is_done_once(world):
    order = new_order(world.alice.id, "transfer", BOB.address, 10).sign(ALICE)
    entry = world.carol.submit(order).entry  # in whose name it is, the signature tells
    assert (entry.by, entry.kind) == (ALICE.address, "transfer")
    with pytest.raises(LedgerRefusal, match="done before"):
        world.carol.submit(order)
    assert world.bob.account() == Account(10)


def test_what_would_lose_money_is_not_written(world, monkeypatch):
    """Whatever is wrong with the rules, the lines of every entry add up to 0."""
    monkeypatch.setitem(rules._KINDS, "burn", lambda step, amount: step.post(step.by, "available", -amount))
    before = world.alice.account(), len(list(world.alice.history()))
    with pytest.raises(SwarmError, match="add up to -3, and not to 0"):
        world.alice.burn(3)
    assert (world.alice.account(), len(list(world.alice.history()))) == before


def test_an_order_for_another_ledger_is_refused(world):
    order = new_order(os.urandom(32), "transfer", BOB.address, 10).sign(ALICE)
    with pytest.raises(LedgerRefusal, match="an order for ledger"):
        world.carol.submit(order)


def test_a_ledger_has_one_beginning(world):
    nonce = os.urandom(32)
    values = (nonce, CAROL.address, CAROL.address, 0, 0, 0, 0)
    for id in (world.alice.id, ledger_id(CAROL.address, nonce)):
        with pytest.raises(LedgerRefusal):
            world.alice.submit(new_order(id, "genesis", *values).sign(CAROL))


# --- one file, many processes ----------------------------------------------------------------------------------------


def test_a_ledger_is_found_again(file):
    first = SqliteLedger(file, ALICE, RULES, arbiter=BOB.address)
    first.mint(CAROL.address, 5)
    first.shut()
    again = SqliteLedger(file, CAROL, Rules(burn_ppm=7))  # rules are of the making
    assert (again.id, again.rules, again.issuer, again.arbiter) == (first.id, RULES, ALICE.address, BOB.address)
    assert again.account() == Account(5)


def test_the_keepers_key_is_its_owners_alone_and_the_ledger_is_shut_without_it(file):
    SqliteLedger(file, ALICE).shut()
    key = keeper_file(file)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.rename(key.with_suffix(".moved"))
    with pytest.raises(SwarmError, match="is not there"):
        SqliteLedger(file, ALICE)
    assert not key.exists()
    Identity.load_or_create(key)
    with pytest.raises(SwarmError, match="not the key of"):
        SqliteLedger(file, ALICE)


def test_a_file_that_is_no_ledger_is_said_to_be_none(file):
    file.write_bytes(b"something else" * 1_000)
    for open_it in (lambda: SqliteLedger(file, ALICE), lambda: audit(file)):
        with pytest.raises(SwarmError, match=r"damaged.*restore it from a backup"):
            open_it()


_TRANSFERS = """
import sys
from pathlib import Path
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire.identity import Identity
ledger = SqliteLedger(Path(sys.argv[1]), Identity(bytes.fromhex(sys.argv[2])))
for _ in range(25):
    ledger.transfer(bytes(20), 1)
"""


def test_processes_share_a_file_from_its_first_moment(file):
    """Four of them at once, none of which finds a ledger there: one makes it, and all go on with it."""
    secret = (b"alice".rjust(32, b"\1")).hex()
    program = _TRANSFERS.replace("for _", "ledger.mint(ledger.address, 25)\nfor _")
    processes = [subprocess.Popen([sys.executable, "-c", program, file, secret]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    ledger = SqliteLedger(file, CAROL)
    assert ledger.account(bytes(20)) == Account(100)
    report = audit(file)
    assert report.problems == ()
    assert report.entries == 1 + 4 * 26


def test_threads_share_a_ledger():
    ledger = SqliteLedger(None, ALICE)
    ledger.mint(ALICE.address, 100)
    threads = [Thread(target=lambda: [ledger.transfer(BOB.address, 1) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.account(BOB.address) == Account(100)
    assert audit(ledger).holds


def test_time_never_runs_back(file):
    clock = MovableClock()
    ledger = SqliteLedger(file, ISSUER, clock=clock)
    ledger.mint(ALICE.address, 1)
    now = ledger.now()
    clock.advance(-3_600)
    ledger.mint(ALICE.address, 1)
    assert ledger.now() == now
    times = [entry.time_ms for entry in ledger.history()]
    assert times == sorted(times)


def test_a_folder_or_a_file_is_where_a_ledger_is(tmp_path):
    ledger = open_ledger(str(tmp_path / "folder"), ALICE)
    assert open_ledger(str(tmp_path / "folder" / "ledger.db"), BOB).id == ledger.id


# --- audits ----------------------------------------------------------------------------------------------------------


def test_an_audit_does_everything_again(world, file):
    busy(world)
    for report in (audit(file), audit(world.alice)):
        assert report.problems == ()
        assert report.entries == len(list(world.alice.history()))
        assert report.supply == world.alice.supply() == Supply(1_009, 32)
        assert report.accounts[BOB.address] == world.bob.account()
        assert (report.terms.id, report.terms.keeper) == (world.alice.id, world.alice.keeper)


def test_entries_are_final(world, file):
    with closing(sqlite3.connect(file)) as database:
        for sql in ("DELETE FROM entry", "UPDATE entry SET time_ms = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="entries are final"):
                database.execute(sql)


@pytest.mark.parametrize("sql", [
    "UPDATE account SET available = available + 1",
    "UPDATE outside SET amount = amount + 1",
    "UPDATE channel SET paid = paid - 1",
    "UPDATE unbonding SET release_s = 0",
    "DELETE FROM done",
    "DELETE FROM commitment",
    "DELETE FROM touched",
    "DELETE FROM entry WHERE number = 3",
    "DELETE FROM entry WHERE number = (SELECT max(number) FROM entry)",
    "UPDATE entry SET time_ms = time_ms + 1",
    "UPDATE entry SET hash = zeroblob(32) WHERE number = 2",
    "UPDATE entry SET data = (SELECT data FROM entry WHERE number = 1) WHERE number = 2",
    "UPDATE entry SET data = zeroblob(9) WHERE number = 2",
])  # fmt: skip
def test_an_audit_finds_what_was_changed(world, file, sql):
    busy(world)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DROP TRIGGER entry_UPDATE")
        database.execute("DROP TRIGGER entry_DELETE")
        database.execute(sql)
    assert not audit(file).holds


def test_an_audit_finds_a_keeper_who_writes_other_than_was_ordered(world, file):
    """The keeper can sign whatever it likes, but not in the name of others, and not against the rules."""
    keeper = Identity.load_or_create(keeper_file(file))
    last = list(world.alice.records())[-1]
    minting = new_order(world.alice.id, "mint", BOB.address, 1).sign(BOB)
    for changed, signer, problem in (
        (replace(last, postings=()), keeper, "has another postings than its order makes"),
        (replace(last, time_ms=last.time_ms - 1), keeper, "has another time_ms"),
        (replace(last, previous=bytes(32)), keeper, "has another previous"),
        (replace(last, order=minting), keeper, "is against the rules: only the issuer"),
        (last, BOB, "is not signed by the keeper"),
    ):
        signed = replace(changed, signature=signer.sign_hash(changed.hash))
        row = (signed.time_ms, signed.hash, signed.encode(), signed.number)
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("DROP TRIGGER IF EXISTS entry_UPDATE")
            database.execute("UPDATE entry SET time_ms = ?, hash = ?, data = ? WHERE number = ?", row)
        assert problem in audit(file).problems[0]


def test_an_empty_book_does_not_hold(file):
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        Book(database).create()
    assert audit(file).problems == ("the book is empty",)


def test_a_backup_is_a_whole_ledger(world, file, tmp_path):
    busy(world)
    copy = tmp_path / "copy.db"
    copy_ledger(file, copy)
    assert audit(copy) == audit(file)
    assert stat.S_IMODE(keeper_file(copy).stat().st_mode) == 0o600
    with pytest.raises(SwarmError, match="exists"):
        copy_ledger(file, copy)
    world.issuer.mint(ALICE.address, 1)
    copy_ledger(file, copy, replace=True)
    again = SqliteLedger(copy, ALICE)
    assert again.account() == world.alice.account()
    again.burn(1)
