"""An audit of a ledger in a file does everything again, and finds what was changed."""

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace

import pytest

from ledgers import KEYS, RULES, World
from swarm.errors import SwarmError
from swarm.market.ledger.audit import audit
from swarm.market.ledger.backups import copy_ledger
from swarm.market.ledger.bookkeeping.book import Book
from swarm.market.ledger.bookkeeping.orders import new_order
from swarm.market.ledger.ledger import Supply
from swarm.market.ledger.sqlite import SqliteLedger, keeper_file
from swarm.wire.identity import Identity

ISSUER, ALICE, BOB, CAROL = KEYS.values()


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
