"""What a server takes for money: vouchers, and sessions that are opened with them."""

import asyncio
import os
from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from shop import CLIENT, OTHER, PRICE, SERVER, Shop, opening
from swarm.errors import InvalidRequest, LedgerRefusal, PaymentRequired, PeerBusy
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.payments import authorise, payer_of
from swarm.market.channel.receivable import Receivable, Tab
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.market.ledger.ledger import Channel
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import Quote
from swarm.wire.formats.receipts import NOTHING, Tokens
from swarm.wire.session_id import new_session_id


class Counted:
    """A ledger, and the channels that it was asked for."""

    def __init__(self, ledger: SqliteLedger):
        self._ledger, self.asked = ledger, []

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    def channel(self, id: bytes) -> Channel | None:
        self.asked.append(id)
        return self._ledger.channel(id)


def state(shop: Shop, channel: Channel, tab: Tab) -> tuple:
    return shop.store.voucher(channel.id), tab.receivable.paid, tab.receivable.owed, shop.ledger.account()


# --- vouchers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [
    "forged", "by the payee itself", "over the deposit", "another channel", "another ledger", "garbled", "cut",
])  # fmt: skip
def test_a_voucher_that_is_not_good_is_refused_and_changes_nothing(shop, channel, fault):
    tab = shop.open(channel)
    shop.accept(tab, shop.pay(channel, 1000))
    before = state(shop, channel, tab)
    second = shop.ledger.open_channel(SERVER.address, 1000)
    bad = {
        "forged": shop.pay(channel, 2000, by=OTHER),
        "by the payee itself": shop.pay(channel, 2000, by=SERVER),
        "over the deposit": shop.pay(channel, 1_000_001),
        "another channel": shop.pay(second, 900),
        "another ledger": shop.pay(channel, 2000, ledger=bytes(32)),
        "garbled": os.urandom(169),
        "cut": shop.pay(channel, 2000)[:-1],
    }[fault]
    with pytest.raises(InvalidRequest):
        shop.accept(tab, bad)
    assert state(shop, channel, tab)[:3] == before[:3]


@pytest.mark.parametrize("amount", [1000, 999, 0])
def test_a_voucher_that_is_replayed_or_stale_adds_nothing(shop, channel, amount):
    tab = shop.open(channel)
    shop.accept(tab, shop.pay(channel, 1000))
    before = state(shop, channel, tab)
    shop.accept(tab, shop.pay(channel, amount))  # it may have been overtaken: that is no fault
    assert state(shop, channel, tab) == before
    assert asyncio.run(shop.channels.settle()) == 1000
    assert asyncio.run(shop.channels.settle()) == 0
    assert shop.server.account().available == 1000


def test_a_top_up_is_noticed_when_a_voucher_needs_it(shop, channel):
    tab = shop.open(channel)
    shop.ledger.top_up(channel.id, 500_000)
    shop.accept(tab, shop.pay(channel, 1_400_000))
    assert tab.receivable.paid == 1_400_000


def test_what_was_kept_is_settled_by_the_next_process(shop, channel, tmp_path):
    shop.accept(shop.open(channel), shop.pay(channel, 4711))
    assert shop.store.flush()
    again = PayeeChannels(shop.server, PaymentStore(tmp_path / "payments.db"))
    assert asyncio.run(again.settle()) == 4711
    assert shop.server.account().available == 4711


def test_one_bad_voucher_does_not_keep_others_from_being_paid(shop, channel):
    second = shop.ledger.open_channel(SERVER.address, 1000)
    for one in (channel, second):
        shop.accept(shop.open(one), shop.pay(one, 100))
    shop.store.keep(Voucher(shop.ledger.id, second.id, 900, NOTHING).sign(OTHER))
    assert asyncio.run(shop.channels.settle()) == 100
    assert shop.server.account().available == 100


def test_only_channels_in_use_and_those_with_a_voucher_waiting_are_looked_up(shop, channel, tmp_path):
    """Not all that were ever opened, which become more and more."""
    others = [shop.ledger.open_channel(SERVER.address, 1000) for _ in range(3)]
    shop.accept(shop.open(others[0]), shop.pay(others[0], 100))
    assert asyncio.run(shop.channels.settle()) == 100 and shop.store.flush()
    counted = Counted(shop.server)
    store = PaymentStore(tmp_path / "payments.db")
    again = PayeeChannels(counted, store)  # the next process
    assert asyncio.run(again.settle()) == 0
    assert counted.asked == [others[0].id]  # its voucher was kept, and may be worth something
    assert asyncio.run(again.settle()) == 0
    assert counted.asked == [others[0].id]
    store.keep(SignedVoucher.decode(shop.pay(channel, 70)))
    assert asyncio.run(again.settle()) == 70
    assert counted.asked == [others[0].id, channel.id]


def test_a_vouchers_signature_is_checked_once(shop, channel, monkeypatch):
    data = shop.pay(channel, 100)
    tab, decode = shop.open(channel), SignedVoucher.decode
    checked = []
    monkeypatch.setattr(SignedVoucher, "decode", lambda data: checked.append(data) or decode(data))
    shop.accept(tab, data)
    shop.store.voucher(channel.id)
    shop.store.vouchers(shop.ledger.id)
    assert checked == [data]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_work_that_has_a_price_is_not_done_for_nothing(shop):
    with pytest.raises(PaymentRequired, match=r"0\.0000001 credits for a token through a block"):
        asyncio.run(shop.channels.open(opening(None)))


def test_nobody_has_work_done_at_another_payers_expense(shop, channel):
    with pytest.raises(InvalidRequest, match="not its signer's"):
        shop.open(channel, by=OTHER)


@pytest.mark.parametrize("change", ["session_id", "start", "stop", "seq", "quote"])
def test_an_authorisation_is_good_for_one_opening(shop, channel, change):
    other = {"session_id": new_session_id(), "start": 1, "stop": 9, "seq": 2, "quote": bytes([8]) * 32}[change]
    shop.channels.posted(bytes([8]) * 32, Quote(shop.ledger.id, price=PRICE))
    with pytest.raises(InvalidRequest):
        shop.open(channel, **{change: other})


def test_a_bid_cannot_be_changed_on_the_way(shop, channel):
    request = opening(channel)
    request.payment.bid = 7
    with pytest.raises(InvalidRequest):
        asyncio.run(shop.channels.open(request))


def test_a_bid_without_a_channel_to_pay_it_from_is_refused(shop):
    """So a server that is paid goes by no bid that nobody pays."""
    request = opening(None)
    request.payment.bid = 7
    with pytest.raises(InvalidRequest, match="channel"):
        asyncio.run(shop.channels.open(request))


def test_a_price_that_was_never_quoted_is_not_honoured(shop, channel):
    with pytest.raises(PeerBusy, match="out of date"):
        shop.open(channel, quote=bytes(32))


def test_a_channel_to_another_server_pays_nothing_here(shop):
    other = shop.ledger.open_channel(OTHER.address, 1000)
    with pytest.raises(LedgerRefusal, match="no channel"):
        shop.open(other)


def test_a_channel_that_its_payer_is_closing_opens_no_session(shop, channel):
    shop.ledger.request_close(channel.id)
    with pytest.raises(LedgerRefusal, match="closed, or about to be"):
        shop.open(channel)


def test_a_channel_that_is_closed_while_a_session_is_open_pays_for_no_more_work(shop, channel):
    tab = shop.open(channel)
    assert tab.begin(Tokens(decode=1))
    tab.progress(Tokens(decode=1), Tokens())
    shop.ledger.request_close(channel.id)
    asyncio.run(shop.channels.settle())  # when the server looks at its channels
    assert not tab.begin(Tokens(decode=1))
    with pytest.raises(LedgerRefusal, match="closed, or about to be"):
        shop.open(channel)
    shop.ledger.top_up(channel.id, 1)  # by which the wish is taken back
    assert shop.open(channel).begin(Tokens(decode=1))


def test_what_is_owed_is_settled_before_the_payer_can_take_it_back(shop, channel):
    shop.accept(shop.open(channel), shop.pay(channel, 2000))
    shop.ledger.request_close(channel.id)
    assert asyncio.run(shop.channels.settle()) == 2000


def test_the_same_money_cannot_be_set_aside_for_two_servers(shop):
    """Double spending: each channel has escrow of its own, so the second opening is what fails."""
    shop.ledger.open_channel(SERVER.address, CREDIT)
    with pytest.raises(LedgerRefusal):
        shop.ledger.open_channel(OTHER.address, CREDIT)


def test_a_flood_of_unknown_channels_costs_the_ledger_little(shop, channel):
    async def flood() -> int:
        refused = 0
        for _ in range(200):
            request = opening(channel)
            request.payment.channel = os.urandom(32)
            authorise(request, SERVER.address, CLIENT)
            try:
                await shop.channels.open(request)
            except LedgerRefusal:
                refused += 1
            except PeerBusy:
                break
        return refused

    assert asyncio.run(flood()) == 64


@given(st.data())
def test_no_changed_bit_of_a_voucher_or_an_opening_is_taken_for_the_payers(data):
    channel = Channel(os.urandom(32), CLIENT.address, SERVER.address, deposit=50_000)
    voucher = Voucher(bytes(32), channel.id, 1000, NOTHING).sign(CLIENT).encode()
    receivable = Receivable(channel)
    with suppress(InvalidRequest):
        changed = SignedVoucher.decode(mutated(voucher, data))
        receivable.accept(changed)
    assert receivable.paid == 0
    opened = opening(channel, bid=3)
    request = pb.Open()
    with suppress(InvalidRequest, DecodeError):
        request.ParseFromString(mutated(opened.SerializeToString(), data))
        if request.payment != opened.payment:
            assert payer_of(request, SERVER.address) != CLIENT.address


def mutated(message: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, len(message) - 1))
    return message[:place] + bytes([message[place] ^ data.draw(st.integers(1, 255))]) + message[place + 1 :]
