"""What was signed is not lost, and no session begins that could not be remembered, whatever the disk does."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from disks import gone, locked
from helpers import wait_until
from receipt_chain import IDENTITIES, make_receipt
from swarm.errors import DiskTrouble, SwarmError
from swarm.verify.receipts import store as receipt_store
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire.session_id import new_session_id


@pytest.fixture
def store(tmp_path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "home" / "receipts.db")
    yield store
    store.close()


def signed(number: int):
    return make_receipt(index=number).sign(IDENTITIES[0])


def opens(store: ReceiptStore, session: bytes) -> bool:
    return asyncio.run(store.remember_opening(session, 0, 1))


@pytest.mark.parametrize("fault", [lambda store: locked(store.path), lambda store: gone(store.path.parent)])
def test_a_disk_that_fails_gets_every_receipt_later_and_lets_no_session_begin(store, fault):
    one, other = new_session_id(), new_session_id()
    store.add(signed(0))
    assert opens(store, one) and store.flush()
    with fault(store):
        for number in range(1, 5):
            store.add(signed(number))
        with pytest.raises(DiskTrouble, match="it cannot write its receipts"):
            opens(store, other)
        assert store.trouble().startswith("it cannot write its receipts: ")
    assert wait_until(store.flush, 20) and not store.trouble()
    session = signed(0).receipt.terms.session
    assert list(store.receipts(session)) == [signed(number) for number in range(5)]
    assert not opens(store, one) and opens(store, new_session_id())


def test_a_file_with_other_columns_is_refused_at_the_start(tmp_path):
    """It used to be served from, and the receipts were dropped."""
    path = tmp_path / "receipts.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE receipts (session BLOB, data BLOB)")
    with pytest.raises(SwarmError, match=r"the receipts in .* its table receipts has other columns .*; move it away"):
        ReceiptStore(path)


def test_the_oldest_give_way(tmp_path, monkeypatch):
    monkeypatch.setattr(receipt_store, "PRUNE_EVERY", 10)
    store = ReceiptStore(tmp_path / "receipts.db", max_receipts=15)
    for number in range(40):
        store.add(signed(number))
    store.close()
    again = ReceiptStore(tmp_path / "receipts.db")
    assert again.sessions()[0].receipts == 15
    again.close()


def test_a_folder_that_is_gone_for_good_is_made_anew_by_nobody_but_the_next_start(store):
    shutil.rmtree(store.path.parent)
    store.add(signed(0))
    assert wait_until(store.trouble, 20)
    assert "put it back, or start again" in store.trouble() and not store.path.parent.exists()


@pytest.mark.parametrize("is_kept", [True, False])
def test_who_stops_reading_half_way_keeps_no_receipt_from_being_written(tmp_path, is_kept):
    with closing(ReceiptStore(tmp_path / "receipts.db" if is_kept else None)) as store:
        for number in range(2):
            store.add(signed(number))
        read = store.receipts(signed(0).receipt.terms.session)
        next(read)
        store.add(signed(2))
        assert store.flush()
