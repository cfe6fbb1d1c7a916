"""A ledger as a service: what users rely on, and what strangers cannot do."""

from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import KEYS, RULES, seen_by
from swarm.clock import now_s
from swarm.errors import InvalidRequest, LedgerRefusal, PeerBusy, PeerUnreachable
from swarm.market.ledger.audit import audit
from swarm.market.ledger.backups import copy_ledger
from swarm.market.ledger.bookkeeping.orders import MAX_ORDER_BYTES, Order, SignedOrder, new_order
from swarm.market.ledger.ledger import Account
from swarm.market.ledger.opening import open_ledger
from swarm.market.ledger.remote import RemoteLedger
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.service.service import LedgerService, Limits, serve
from swarm.market.service.transport import METHODS, SERVICE, LedgerAddress, connect, fingerprint
from swarm.wire.tls import make_certificate

ISSUER, ALICE, BOB, CAROL = KEYS.values()

CERTIFICATE = make_certificate()


@contextmanager
def served(ledger: SqliteLedger, port: int = 0, service: LedgerService | None = None):
    server, port = serve(service or LedgerService(ledger), "127.0.0.1", port, CERTIFICATE)
    try:
        yield LedgerAddress("127.0.0.1", port, fingerprint(CERTIFICATE.certificate_der))
    finally:
        server.stop(grace=None).wait()


@pytest.fixture
def book():
    ledger = SqliteLedger(None, ISSUER, RULES)
    ledger.mint(ALICE.address, 1_000)
    return ledger


@pytest.fixture(scope="module")
def junk_yard():
    with served(SqliteLedger(None, ISSUER)) as address, connect(address) as channel:
        yield channel


# --- what users rely on ----------------------------------------------------------------------------------------------


def test_an_address_is_read_as_it_is_written():
    for text in (f"127.0.0.1:5000/{'0a' * 32}", f"[::1]:5000/{'0a' * 32}", f"ledger.example:5000/{'0a' * 32}"):
        assert str(LedgerAddress.parse(text)) == text
    for text in ("127.0.0.1:5000", f"127.0.0.1/{'0a' * 32}", f"127.0.0.1:5000/{'0a' * 31}", "folder/file.db"):
        assert LedgerAddress.parse(text) is None


def test_a_ledger_is_opened_by_its_address(book):
    with served(book) as address:
        alice = open_ledger(str(address), ALICE)
        alice.transfer(BOB.address, 10)
        assert seen_by(alice, BOB).account() == Account(10)
        assert (alice.id, alice.rules, alice.keeper) == (book.id, RULES, book.keeper)


def test_an_order_that_somebody_else_signed_can_be_handed_in(book):
    with served(book) as address:
        order = new_order(book.id, "transfer", BOB.address, 10).sign(ALICE)
        assert RemoteLedger(address, CAROL).submit(order).order.signer == ALICE.address


def test_two_orders_at_once_may_be_answered_in_any_order(book, monkeypatch):
    with served(book) as address:
        alice = RemoteLedger(address, ALICE)
        call = alice._call

        def overtaken(*arguments):
            answer = call(*arguments)
            monkeypatch.setattr(alice, "_call", call)
            alice.transfer(CAROL.address, 20)  # by another thread, which hears of it first
            return answer

        monkeypatch.setattr(alice, "_call", overtaken)
        alice.transfer(BOB.address, 10)
        assert seen_by(alice, BOB).account() == Account(10)
        assert seen_by(alice, CAROL).account() == Account(20)


def test_who_goes_by_a_ledgers_time_is_told_once_that_its_clock_is_off(caplog):
    behind = SqliteLedger(None, ISSUER, RULES, clock=lambda: now_s() - 600)
    with served(behind) as address:
        alice = RemoteLedger(address, ALICE)
        assert caplog.messages == []
        assert all(abs(alice.now() - (now_s() - 600)) < 60 for _ in range(2))
        (said,) = caplog.messages
        assert said.startswith(f"the clock of the ledger at {address} is 10 min behind this process's")


def test_a_refusal_arrives_as_it_was(book):
    with served(book) as address, pytest.raises(LedgerRefusal, match="has 0 available, and not"):
        RemoteLedger(address, BOB).burn(1)


def test_an_audit_works_from_afar(book):
    with served(book) as address:
        report = audit(RemoteLedger(address, BOB))
    assert report.problems == ()
    assert report == audit(book)


def test_an_audit_finds_a_service_that_says_other_than_it_has_signed(book):
    class Boaster(LedgerService):
        def _account(self, query):
            answer = super()._account(query)
            answer.available += 1
            return answer

    with served(book, service=Boaster(book)) as address:
        report = audit(RemoteLedger(address, BOB))
    assert "another balance" in report.problems[0]


def test_lists_are_read_to_their_end(book):
    with served(book) as address:
        alice = RemoteLedger(address, ALICE)
        channels = [seen_by(book, ALICE).open_channel(BOB.address, 1) for _ in range(150)]
        assert alice.channels() == alice.channels(payee=BOB.address) == channels
        assert [entry.number for entry in alice.history()] == list(range(152))


def test_somebody_elses_certificate_is_noticed(book):
    with served(book) as address, pytest.raises(InvalidRequest, match="another ledger, or somebody in between"):
        RemoteLedger(replace(address, fingerprint=bytes(32)), ALICE)


def test_a_ledger_that_does_not_answer_is_unreachable(book):
    with served(book) as address:
        alice = RemoteLedger(address, ALICE)
    for attempt in (alice.account, lambda: alice.burn(1), lambda: RemoteLedger(address, ALICE)):
        with pytest.raises(PeerUnreachable, match="does not answer"):
            attempt()


def test_a_service_that_puts_another_ledger_in_its_place_is_noticed(book):
    with served(book) as address:
        alice = RemoteLedger(address, ALICE)
    with served(SqliteLedger(None, ISSUER), address.port):
        for attempt in (alice.supply, lambda: list(alice.history())):
            with pytest.raises(InvalidRequest, match="its keeper has not signed"):
                attempt()
        with pytest.raises(LedgerRefusal, match="an order for ledger"):
            alice.burn(1)


def test_a_service_that_forgets_what_it_has_signed_is_noticed(tmp_path):
    file, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    before = SqliteLedger(file, ISSUER)
    copy_ledger(file, copy)
    with served(before) as address:
        issuer = RemoteLedger(address, ISSUER)
        issuer.mint(ALICE.address, 5)
        issuer.mint(ALICE.address, 5)
    after = SqliteLedger(copy, ISSUER)
    with served(after, address.port):
        with pytest.raises(InvalidRequest, match="another history"):
            issuer.supply()
        after.mint(BOB.address, 5)
        after.mint(BOB.address, 5)
        with pytest.raises(InvalidRequest, match="another history"):
            issuer.now()


# --- what strangers cannot do ----------------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_to_wait(book):
    limits = Limits(orders=2, reads=5, period_s=3_600)
    with served(book, service=LedgerService(book, limits)) as address:
        alice = RemoteLedger(address, ALICE)
        for _ in range(2):
            alice.burn(1)
        with pytest.raises(PeerBusy, match="more calls"):
            alice.burn(1)
        with pytest.raises(PeerBusy, match="more calls"):
            for _ in range(5):
                alice.account()


def test_long_orders_count_as_many(book):
    with served(book, service=LedgerService(book, Limits(orders=20))) as address:
        alice = RemoteLedger(address, ALICE)
        book.end_commits(1)
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="has not committed"):
                alice.reveal(1, bytes(9_000))
        with pytest.raises(PeerBusy, match="more calls"):
            alice.reveal(1, bytes(9_000))


@given(junk=st.binary(max_size=300), method=st.sampled_from(list(METHODS)))
def test_junk_is_refused_in_words(junk_yard, junk, method):
    call = junk_yard.unary_unary(f"/{SERVICE}/{method}")
    try:
        call(junk)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert error.details().startswith(("InvalidRequest: ", "LedgerRefusal: "))


@given(data=st.data(), method=st.sampled_from(list(METHODS)))
def test_queries_of_any_content_are_answered_or_refused_in_words(junk_yard, data, method):
    query, answer = METHODS[method].query, METHODS[method].answer
    values = {
        field.name: data.draw(st.binary(max_size=40) if field.type == field.TYPE_BYTES else st.integers(0, 2**64 - 1))
        for field in query.DESCRIPTOR.fields
    }
    call = junk_yard.unary_unary(f"/{SERVICE}/{method}", query.SerializeToString, answer.FromString)
    try:
        call(query(**values))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert error.details().startswith(("InvalidRequest: ", "LedgerRefusal: "))


def test_orders_are_as_long_as_is_written_and_no_longer(book):
    with served(book) as address:
        alice = RemoteLedger(address, ALICE)
        book.end_commits(1)
        with pytest.raises(InvalidRequest, match="has not committed"):
            alice.reveal(1, bytes(MAX_ORDER_BYTES - 200))
        with pytest.raises(InvalidRequest, match="make several"):
            alice.reveal(1, bytes(MAX_ORDER_BYTES))
        with pytest.raises(PeerBusy):
            alice.submit(SignedOrder(Order(book.id, "reveal", (1, bytes(2**20)), bytes(16)), bytes(65), ALICE.address))
