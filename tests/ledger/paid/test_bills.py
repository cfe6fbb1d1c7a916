"""What `ledger bill` and `ledger audit` say where not all that was paid is kept, or the disk is full."""

import json
from contextlib import closing

import pytest

from disks import small_files
from ledgers import KEYS
from swarm.cli.ledger import verbs as command
from swarm.cli.support.exits import DONE, FAILED, REFUTED
from swarm.home import client_identity, ledger_folder, payments_file
from swarm.market.channel.payment_store import Bill, PaymentStore
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import NOTHING, Tokens


@pytest.fixture
def paid(tmp_path, monkeypatch):
    """700 nano-credits of this user's, of which a bill says where 500 of them went."""
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_LEDGER", raising=False)
    me = client_identity()
    ledger = open_ledger(str(ledger_folder()), me)
    ledger.mint(me.address, CREDIT)
    channel = ledger.open_channel(KEYS["bob"].address, 1000)
    ledger.settle([Voucher(ledger.id, channel.id, 700, NOTHING).sign(me)])
    bill = Bill.of(ledger.id, channel, (bytes(16), 0, 0, 1), Tokens(5, 0), Price(100, 100), NOTHING)
    yield bill
    ledger.shut()


def keep(bill: Bill) -> None:
    with closing(PaymentStore(payments_file())) as store:
        store.bill(bill)


def test_what_was_paid_beyond_the_bills_is_said(paid, capsys):
    assert command.main(["bill"]) == DONE
    assert capsys.readouterr().out.startswith("0.0000007 credits more were paid than is listed here")
    assert not payments_file().exists()  # to look makes none
    keep(paid)
    assert command.main(["bill"]) == REFUTED  # there are no receipts
    assert "\n0.0000002 credits more were paid than is listed here" in capsys.readouterr().out
    assert command.main(["bill", "--json"]) == REFUTED
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 1 and shown.err.startswith("0.0000002 credits more were paid")
    keep(Bill(**{**vars(paid), "amount": 200}))
    command.main(["bill"])
    assert "more were paid" not in capsys.readouterr().out


def test_on_a_full_disk_bills_are_shown_all_the_same(paid, capsys):
    keep(paid)
    before = payments_file().read_bytes()
    with small_files(100):
        assert command.main(["bill", "--json"]) == REFUTED
    assert [one["amount"] for one in json.loads(capsys.readouterr().out)] == [500]
    assert payments_file().read_bytes() == before


def test_on_a_full_disk_a_book_is_audited_though_the_bills_beside_it_cannot_be_read(paid, capsys):
    keep(paid)
    payments_file().with_name("client.db-wal").write_bytes(b"x")  # there is no room for what reading it needs
    with small_files(100):
        assert command.main(["audit"]) == DONE
        shown = capsys.readouterr().out
        assert "It holds" in shown and "client.db cannot be used: its disk is full (disk I/O error); make room" in shown
        assert command.main(["bill"]) == FAILED
    assert "its disk is full (disk I/O error); make room" in capsys.readouterr().err
