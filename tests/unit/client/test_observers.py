"""The server's seam: a session computes without anybody who follows it, and what they may say to it."""

import asyncio

import pytest
import torch

from swarm.errors import InvalidRequest, PeerBusy
from swarm.server.observers import UNOBSERVED, SessionObserver, SessionObservers
from swarm.server.session.outbox import Outbox
from swarm.server.session.session import Session
from swarm.server.session.steps import Slice, Work
from swarm.verify.receipts.work import SignedSession
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms, Tokens
from swarm.wire.identity import Identity
from waiting_sessions import HIDDEN, make_session, make_step, unread

SERVER = Identity(bytes(range(32)))
TERMS = Terms(bytes(16), 1, SERVER.address, 0, 2, NOTHING, "none/float32", "", pb.FLOAT32, NOTHING)


class Strict(SessionObserver):
    """Notes what it hears of, and forbids whatever can be forbidden."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def check(self, step: pb.Step) -> None:
        raise InvalidRequest("not this step")

    def may_compute(self, work: Work) -> bool:
        return False

    def computed(self, item: Slice, outputs: Rows) -> None:
        self.heard.append(f"computed {item.count}")

    def closed(self) -> None:
        self.heard.append("closed")


class Patient(SessionObserver):
    """Lets steps in, and none be computed."""

    def may_compute(self, work: Work) -> bool:
        return False


def compute(session: Session) -> None:
    """As the scheduler does, with outputs of zeros."""
    rows = session.steps.next_rows
    item = Slice.next(session, rows)
    session.steps.advance(rows)
    session.computed(item, torch.zeros(rows, HIDDEN), pb.Visit())


def answers(session: Session, **message: object) -> list[pb.ToClient | None]:
    asyncio.run(session.answer(pb.ToServer(**message), pb.Load))
    return unread(session.outbox)


def signed_session(opened_before: bool = False) -> tuple[SignedSession, Outbox]:
    outbox = Outbox()
    writer = ReceiptWriter(SERVER, TERMS, lambda signed: None)

    async def remember(*opening: object) -> bool:
        return not opened_before

    signed = SignedSession(writer, remember, outbox)
    if not opened_before:
        asyncio.run(signed.secured())
    return signed, outbox


# --- the core alone --------------------------------------------------------------------------------------------------


def test_a_session_that_nobody_follows_computes_and_passes_receipts_of_others_on():
    session, step = make_session(), make_step(0, 3, seal=True)
    step.receipts.append(b"of the hop before")
    session.accept(step)
    assert session.is_ready()
    compute(session)
    (answer,) = unread(session.outbox)
    assert list(answer.result.receipts) == [b"of the hop before"]
    assert (answer.result.position, answer.result.count, list(answer.result.hidden.shape)) == (0, 3, [1, HIDDEN])


def test_where_nobody_signs_a_request_for_receipts_is_answered_with_none():
    (answer,) = answers(make_session(), seal=pb.Seal(seq=4))
    assert (answer.sealed.seq, list(answer.sealed.receipts)) == (4, [])


def test_where_nothing_is_paid_for_a_voucher_is_no_message():
    with pytest.raises(InvalidRequest, match="send steps"):
        answers(make_session(), paid=pb.Paid(voucher=b"1"))


# --- what observers may say ------------------------------------------------------------------------------------------


def test_a_step_that_an_observer_refuses_changes_nothing():
    session = make_session(observer=Strict())
    with pytest.raises(InvalidRequest, match="not this step"):
        session.accept(make_step(0, 1))
    assert not session.steps.used and not session.is_ready()


def test_a_step_waits_until_every_observer_lets_it_be_computed():
    waits = make_session(observer=SessionObservers([UNOBSERVED, Patient()]))
    goes = make_session(observer=SessionObservers([UNOBSERVED, UNOBSERVED]))
    for session in (waits, goes):
        session.accept(make_step(0, 1))
    assert (waits.is_ready(), goes.is_ready()) == (False, True)


def test_all_hear_of_what_was_computed_and_of_the_end():
    both = [type("Open", (Strict,), {"check": SessionObserver.check})() for _ in range(2)]
    session = make_session(observer=SessionObservers(both))
    session.accept(make_step(0, 2))
    compute(session)
    session.close()
    assert [one.heard for one in both] == [["computed 2", "closed"]] * 2


# --- receipts --------------------------------------------------------------------------------------------------------


def test_a_sealed_step_carries_its_receipt_behind_those_that_came_with_it():
    signed, _ = signed_session()
    session = make_session(observer=signed)
    step = make_step(0, 3, seal=True)
    step.receipts.append(b"of the hop before")
    session.accept(step)
    compute(session)
    before, own = unread(session.outbox)[0].result.receipts
    receipt = SignedReceipt.decode(own).receipt
    assert before == b"of the hop before"
    assert (receipt.position, receipt.count, receipt.terms) == (0, 3, TERMS)
    assert signed.tokens == Tokens(decode=3) and signed.last == receipt.hash


def test_receipts_of_a_replay_that_ends_here_travel_with_the_next_step():
    signed, _ = signed_session()
    session = make_session(observer=signed)
    replayed = make_step(0, 3, seal=True, replay=True)
    replayed.receipts.append(b"of the hop before")
    session.accept(replayed)
    compute(session)
    session.accept(make_step(3, 1))
    compute(session)
    (answer,) = unread(session.outbox)  # none to the replay
    receipts = answer.result.receipts
    assert receipts[0] == b"of the hop before" and SignedReceipt.decode(receipts[1]).receipt.count == 3


def test_a_session_that_was_opened_before_is_not_admitted_again():
    signed, _ = signed_session(opened_before=True)
    session = make_session(observer=signed)
    session.accept(make_step(0, 1))  # a predecessor pushes, and does not wait for the answer
    with pytest.raises(InvalidRequest, match="opened here before"):
        asyncio.run(session.connect(pb.Open()))
    assert not session.is_ready()  # and signs nothing under that name


def test_a_session_that_its_server_ends_is_signed_for_first_and_once():
    signed, outbox = signed_session()
    session = make_session(observer=signed, outbox=outbox)
    session.accept(make_step(0, 2, replay=True))
    compute(session)
    for _ in range(2):
        session.outbox.end(PeerBusy("others need the room"))
    parting, failure, end = unread(outbox)
    assert [SignedReceipt.decode(one).receipt.count for one in parting.sealed.receipts] == [2]
    assert parting.sealed.seq == 0 and failure.failure.code == "PeerBusy" and end is None


def test_a_request_for_receipts_has_what_is_not_signed_yet_signed():
    signed, outbox = signed_session()
    session = make_session(observer=signed)
    session.accept(make_step(0, 2))
    compute(session)
    asyncio.run(session.answer(pb.ToServer(seal=pb.Seal(seq=9, sketches=True)), pb.Load))
    (answer,) = unread(outbox)
    assert [SignedReceipt.decode(one).receipt.count for one in answer.sealed.receipts] == [2]
    assert len(answer.sealed.sketches) == 1
