"""The ledger in a file: orders, and many processes."""

import os
import stat
import subprocess
import sys
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import KEYS, RULES, MovableClock
from swarm.errors import InvalidRequest, LedgerRefusal, SwarmError
from swarm.market.ledger.audit import audit
from swarm.market.ledger.bookkeeping import rules
from swarm.market.ledger.bookkeeping.orders import KINDS, SignedOrder, new_order, pack_payments, unpack_payments
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.ids import ledger_id
from swarm.market.ledger.ledger import Account, Rules
from swarm.market.ledger.opening import open_ledger
from swarm.market.ledger.sqlite import SqliteLedger, keeper_file
from swarm.wire.identity import Identity

ISSUER, ALICE, BOB, CAROL = KEYS.values()


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
        with pytest.raises(SwarmError, match=r"damaged.*use a backup"):
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
