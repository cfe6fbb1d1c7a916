"""A server's vouchers are its money: on a disk that fails they are not lost, and nobody waits for it."""

import asyncio

import pytest

from disks import gone, locked
from helpers import wait_until
from shop import CLIENT, PRICE, RECORD, SERVER
from swarm.errors import DiskTrouble, PeerBusy
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.wallet import Wallet
from swarm.wire.formats.quotes import Quote


def test_a_voucher_counts_at_once_and_is_on_disk_when_that_takes_it(shop, channel, tmp_path):
    tab, file = shop.open(channel), tmp_path / "payments.db"
    with locked(file):
        for amount in (100, 4711):
            shop.accept(tab, shop.pay(channel, amount))
        assert shop.store.voucher(channel.id).voucher.amount == tab.receivable.paid == 4711
        assert wait_until(shop.channels.trouble, 20)
        assert shop.channels.trouble() == "it cannot write its payments: database is locked"
    assert wait_until(shop.store.flush, 20) and not shop.channels.trouble()
    again = PayeeChannels(shop.server, PaymentStore(file))
    assert asyncio.run(again.settle()) == 4711


def test_a_voucher_that_is_on_no_disk_yet_is_settled_too(shop, channel, tmp_path):
    tab = shop.open(channel)
    (tmp_path / "payments.db").unlink()
    shop.accept(tab, shop.pay(channel, 4711))
    assert wait_until(shop.channels.trouble, 20)
    assert asyncio.run(shop.channels.settle()) == 4711
    assert shop.server.account().available == 4711


def test_what_cannot_be_read_opens_no_session_and_ends_no_settlement(tmp_path, shop, channel):
    home = tmp_path / "home"
    store = PaymentStore(home / "payments.db")
    channels = PayeeChannels(shop.server, store)
    channels.posted(RECORD, Quote(shop.ledger.id, price=PRICE))
    shop.channels = channels
    with gone(home):
        with pytest.raises(PeerBusy, match="cannot read now what was paid"):
            shop.open(channel)
        with pytest.raises(DiskTrouble):  # which PayeeChannels.run takes for a reason to try again
            asyncio.run(channels.settle())
    assert shop.open(channel).receivable.paid == 0
    store.close()


def test_no_money_goes_into_a_channel_whose_lock_cannot_be_made(shop, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    wallet = Wallet(shop.ledger, CLIENT, shop.store, tmp_path / "taken")
    with pytest.raises(DiskTrouble, match=r"its lock cannot be made in .*taken: File exists"):
        wallet._channel(SERVER.address, 1000, 1000)
    assert shop.ledger.channels(payer=CLIENT.address) == []
