"""What goes back to a session's client, and when that is given up."""

import asyncio

import pytest

from swarm.errors import InvalidRequest, PeerBusy
from swarm.server.session.outbox import MAX_FAULTS, MAX_LARGE_ANSWERS, OUTBOX_MESSAGES, Outbox
from swarm.wire import messages_pb2 as pb
from waiting_sessions import unread


def test_a_session_that_goes_wrong_too_often_is_closed():
    outbox = Outbox()
    for _ in range(MAX_FAULTS):
        outbox.fail(InvalidRequest("bad"))
    assert [bool(message) for message in unread(outbox)] == [True] * MAX_FAULTS + [False]


def test_a_session_is_ended_once():
    outbox = Outbox()
    for _ in range(2):
        outbox.end(InvalidRequest("enough"))
    assert [bool(message) for message in unread(outbox)] == [True, False]


def test_a_client_that_does_not_read_is_taken_for_gone():
    outbox = Outbox()
    for _ in range(OUTBOX_MESSAGES):
        outbox.relay(pb.Step())
    assert not outbox.abandoned.is_set()
    outbox.relay(pb.Step())
    assert outbox.abandoned.is_set()


def test_who_asks_for_rows_and_does_not_read_them_gets_no_more_until_it_has():
    async def scenario() -> None:
        outbox, rows = Outbox(), pb.ToClient(rows=pb.Rows())
        for _ in range(MAX_LARGE_ANSWERS):
            outbox.send_large(rows)
        with pytest.raises(InvalidRequest, match="read them before asking again"):
            outbox.send_large(rows)
        outbox.written(await outbox.next())
        outbox.send_large(rows)

    asyncio.run(scenario())


def test_who_reads_nothing_is_gone_some_time_after_its_session_was_ended():
    async def scenario() -> bool:
        outbox = Outbox()
        outbox.end(InvalidRequest("enough"), within_s=0.0)
        return await asyncio.wait_for(outbox.abandoned.wait(), 10)

    assert asyncio.run(scenario())


def test_it_is_known_why_a_session_ends():
    async def endings() -> list[str]:
        left, unread, told, faulty = Outbox(), Outbox(), Outbox(), Outbox()
        unread.abandoned.set()
        told.end(PeerBusy("this session was idle for 120 s and is closed"))
        for _ in range(MAX_FAULTS):
            faulty.fail(InvalidRequest("a gap"))
        return [outbox.ending for outbox in (left, unread, told, faulty)]

    assert asyncio.run(endings()) == [
        "its client has ended it", "its client does not read its answers",
        "this session was idle for 120 s and is closed", f"it went wrong {MAX_FAULTS} times, at last: a gap",
    ]  # fmt: skip
