"""What payment says to the work of a session: how far it may compute, what it owes, and when it is ended."""

import asyncio

import pytest

from swarm.errors import InvalidRequest, LedgerRefusal
from swarm.market.channel import work as paid_work
from swarm.market.channel.acknowledgements import ACKNOWLEDGEMENT_BYTES
from swarm.market.channel.receivable import FORGIVEN, Receivable, Tab
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.market.channel.work import PaidSession, UnpricedSession
from swarm.market.ledger.ledger import Channel
from swarm.server.session.outbox import Outbox
from swarm.server.session.steps import Slice
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import NOTHING, Tokens
from swarm.wire.identity import Identity
from waiting_sessions import make_session, make_step, unread

CLIENT, SERVER = (Identity(bytes([number]) * 32) for number in (1, 2))
CHANNEL = Channel(bytes(32), CLIENT.address, SERVER.address, deposit=10_000)
PRICE, BLOCKS, CREDIT = Price(1, 10), 2, 100  # a token costs 20, and one of a prompt 2


class Signed:
    """What receipts say of the session."""

    terms, last = "terms", b"the last"

    def __init__(self) -> None:
        self.tokens = Tokens()


class Channels:
    """Stands in for PayeeChannels: takes every voucher, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.refusal: Exception | None = None

    async def accept(self, tab: Tab, data: bytes) -> None:
        if self.refusal:
            raise self.refusal
        tab.receivable.accept(SignedVoucher.decode(data))

    def acknowledge(self, terms: str, tokens: Tokens, data: bytes) -> None:
        self.asked.append(("acknowledge", terms, tokens))

    def close(self, tab: Tab, terms: str, last: bytes) -> None:
        self.asked.append(("close", terms, last))

    async def look_again(self, tab: Tab) -> None:
        self.asked.append("look again")


class Paid:
    """A session on a channel, and all that it meets."""

    def __init__(self) -> None:
        self.channels, self.signed, self.outbox, self.roster = Channels(), Signed(), Outbox(), set()
        self.tab = Tab(Receivable(CHANNEL), PRICE, BLOCKS, CREDIT)
        self.observer = PaidSession(self.channels, self.signed, self.outbox, self.tab, self.roster)
        self.observer.admitted()
        self.session = make_session(observer=self.observer)

    def compute(self) -> None:
        rows = self.session.steps.next_rows
        item = Slice.next(self.session, rows)
        self.session.steps.advance(rows)
        self.signed.tokens += Tokens(decode=rows)
        self.observer.computed(item, item.inputs)

    def decode(self, tokens: int) -> int:
        """How many of so many tokens, one by one, are computed before it wants a voucher."""
        for done in range(tokens):
            self.session.accept(make_step(self.session.steps.length, 1))
            if not self.session.is_ready():
                return done
            self.compute()
        return tokens

    def pay(self, amount: int, seq: int = 0) -> list[pb.ToClient | None]:
        voucher = Voucher(bytes(32), CHANNEL.id, amount, NOTHING).sign(CLIENT).encode()
        assert asyncio.run(self.observer.answer(pb.ToServer(paid=pb.Paid(voucher=voucher, seq=seq))))
        return unread(self.outbox)


@pytest.fixture
def paid() -> Paid:
    return Paid()


def test_a_session_computes_as_far_as_its_credit_and_goes_on_once_it_has_paid(paid):
    assert paid.decode(10) == CREDIT // 20
    assert not paid.session.is_ready()
    (answer,) = paid.pay(60, seq=3)
    assert (answer.paid_up.seq, answer.paid_up.owed) == (3, 100 - 60 - 60 // FORGIVEN)
    assert paid.session.is_ready()


def test_a_step_that_was_let_in_stays_so_however_often_it_is_asked(paid):
    paid.session.accept(make_step(0, 5))
    assert [paid.session.is_ready() for _ in range(3)] == [True] * 3
    assert paid.tab.receivable.begun == 5 * 20


def test_what_a_dropped_step_had_set_aside_is_free_for_the_one_in_its_place(paid):
    paid.session.accept(make_step(0, 5))
    assert paid.session.is_ready()
    paid.session.steps.clear()
    paid.session.accept(make_step(0, 4))
    assert paid.session.is_ready()
    assert paid.tab.receivable.begun == 4 * 20


def test_a_step_that_costs_more_than_the_credit_is_refused(paid):
    with pytest.raises(
        InvalidRequest, match=r"6 tokens for 0\.00000012 credits; this peer gives credit for 0\.0000001"
    ):
        paid.session.accept(make_step(0, 6))
    paid.session.accept(make_step(0, 50, prompt=True))  # costs 100


def test_a_bad_voucher_is_a_fault_and_the_session_goes_on(paid):
    paid.channels.refusal = LedgerRefusal("no good")
    failure, answer = paid.pay(60, seq=1)
    assert (failure.failure.message, answer.paid_up.owed) == ("no good", 0)
    assert not paid.outbox.ended


def test_the_client_is_told_what_sessions_before_left_unpaid_and_the_newest_voucher(paid):
    answer = pb.Opened()
    paid.observer.opened(answer)
    assert (answer.owed, answer.voucher) == (0, b"")
    paid.decode(4)
    paid.pay(20)
    paid.observer.opened(answer)
    assert (answer.owed, SignedVoucher.decode(answer.voucher).voucher.amount) == (60 - 20 // FORGIVEN, 20)


def test_a_session_that_waits_for_its_voucher_is_looked_after_and_ended_in_time(paid, monkeypatch):
    asyncio.run(paid.observer.dun())
    assert not paid.channels.asked  # it waits for nothing
    paid.decode(10)
    asyncio.run(paid.observer.dun())
    assert paid.channels.asked == ["look again"] and not paid.outbox.ended
    monkeypatch.setattr(paid_work, "UNPAID_S", 0.0)
    asyncio.run(paid.observer.dun())
    assert paid.outbox.ended
    assert unread(paid.outbox)[0].failure.code == "PaymentRequired"


def test_the_end_of_a_session_is_billed_by_its_last_receipt(paid):
    assert paid.roster == {paid.observer}
    paid.observer.closed()
    assert paid.channels.asked == [("close", "terms", b"the last")]
    assert not paid.roster


@pytest.mark.parametrize("priced", [True, False])
def test_whatever_it_costs_a_client_may_acknowledge_what_it_got(paid, priced):
    free = UnpricedSession(paid.channels, paid.signed, paid.outbox)
    message = pb.ToServer(paid=pb.Paid(voucher=bytes(ACKNOWLEDGEMENT_BYTES)))
    assert asyncio.run((paid.observer if priced else free).answer(message))
    assert paid.channels.asked == [("acknowledge", "terms", Tokens())]


def test_a_voucher_for_a_session_that_costs_nothing_is_a_fault(paid):
    free = UnpricedSession(paid.channels, paid.signed, paid.outbox)
    assert asyncio.run(free.answer(pb.ToServer(paid=pb.Paid(voucher=b"1", seq=2))))
    failure, answer = unread(paid.outbox)
    assert "costs nothing" in failure.failure.message
    assert (answer.paid_up.seq, answer.paid_up.owed) == (2, 0)


def test_what_is_no_payment_is_for_others(paid):
    assert not asyncio.run(paid.observer.answer(pb.ToServer(seal=pb.Seal(seq=1))))
