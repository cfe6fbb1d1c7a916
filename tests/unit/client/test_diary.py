"""What is logged of sessions: by a client of its hops, by a server of its clients."""

import logging
from types import SimpleNamespace

import pytest

from swarm.errors import PeerBusy
from swarm.results import Repair
from swarm.server.session.diary import Entry
from swarm.session.diary import Diary
from waiting_sessions import make_session

ID = bytes.fromhex("00112233445566778899aabbccddeeff")


@pytest.fixture(autouse=True)
def verbose(caplog):
    caplog.set_level(logging.INFO, "swarm")


def hop(name: str, start: int, stop: int) -> SimpleNamespace:
    return SimpleNamespace(peer=SimpleNamespace(peer_id=f"16Uiu2{name}"), start=start, stop=stop)


@pytest.mark.parametrize(("reasons", "why"), [(["", "it does not answer"], "it does not answer"), ([""], "it leaves")])
def test_a_client_logs_who_took_whose_place_when_and_why(caplog, reasons, why):
    diary = Diary(ID, [hop("aaaaaaaa", 0, 10), hop("cccccccc", 10, 30)])
    diary.replaced(Repair(("16Uiu2bbbbbbbb",), ((10, 30),), 17, 0.25, False), reasons)
    assert caplog.messages == [
        f"session 001122334455 at token 17: bbbbbbbb (10:30) replaced in 0.25 s ({why}); "
        "now aaaaaaaa 0:10 > cccccccc 10:30"
    ]
    (record,) = caplog.records
    assert (record.session, record.reason, record.lost) == (ID.hex(), why, ("16Uiu2bbbbbbbb",))
    assert record.peers == ["16Uiu2aaaaaaaa", "16Uiu2cccccccc"]


def test_a_server_logs_who_is_let_in_for_what_and_who_is_not_and_why(caplog):
    entry = Entry("ipv4:192.0.2.7:60516")
    session = make_session()
    entry.opened(session, pushes=False)
    entry.closed(session, "its client has ended it")
    entry.refused(PeerBusy("all 4 sessions of this peer are in use"))
    opened, closed, refused = caplog.messages
    assert " opened for 192.0.2.7:60516: blocks " in opened
    assert closed.endswith(" and 0 tokens: its client has ended it")
    assert refused == "a session for 192.0.2.7:60516 is refused: all 4 sessions of this peer are in use"
    assert [record.client for record in caplog.records] == ["192.0.2.7:60516"] * 3
