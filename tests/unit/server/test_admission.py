"""Who is let in when a server is full. With real servers in test_batch.py."""

import asyncio
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from swarm.errors import InvalidRequest, PeerBusy
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.server.admission.door import PATIENCE_S, Door
from swarm.server.admission.line import (
    AGEING_S,
    FORGOTTEN_S,
    MAX_FEE,
    MAX_HEAD_START_S,
    PLACES,
    PLACES_EACH,
    Ask,
    Occupant,
    Room,
    WaitingList,
    background_reserve,
    who_gives_way,
)
from swarm.server.session.session import Session
from swarm.wire import messages_pb2 as pb
from swarm.wire.rate_limit import network_of
from waiting_sessions import make_step, open_session


def ask(holder: str, fee: int = 0, pages: int = 1, background: bool = False) -> Ask:
    return Ask(holder, pages, fee, background)


class Server:
    """A room and its line, without a network or a clock."""

    def __init__(self, pages: int, sessions: int = 1000):
        self.free, self.line = Room(pages, sessions), WaitingList()

    def opens(self, wanted: Ask, now: float) -> bool:
        if not self.free.holds(self.line.claim(wanted, now)):
            return False
        self.line.take(wanted, now)
        self.free = self.free.less(Room(wanted.pages, 1))
        return True

    def closes(self, pages: int) -> None:
        self.free = self.free.plus(Room(pages, 1))


def test_while_there_is_room_everybody_is_let_in_and_nobody_is_remembered():
    server = Server(pages=3)
    assert [server.opens(ask(name), 0.0) for name in "abcd"] == [True, True, True, False]
    assert len(server.line) == 1


def test_room_goes_to_the_higher_fee_though_it_came_later_and_then_to_who_waited_longer():
    server = Server(pages=0)
    for name, fee, now in (("poor", 0, 0.0), ("rich", 1000, 1.0), ("as poor", 0, 1.5)):
        assert not server.opens(ask(name, fee), now)
    server.closes(1)
    assert not server.opens(ask("as poor"), 2.0)
    assert not server.opens(ask("poor"), 2.0)
    assert server.opens(ask("rich", 1000), 2.0)
    server.closes(1)
    assert not server.opens(ask("as poor"), 2.5)
    assert server.opens(ask("poor"), 2.5)


def test_every_second_of_waiting_is_worth_a_fee_twice_as_high():
    for fee in (1, 1000, MAX_FEE // 4):
        for waited_s, first in ((0.9, "higher"), (1.1, "lower")):
            line = WaitingList()
            lower, higher = ask("lower", fee), ask("higher", 2 * fee + 1)
            line.claim(lower, 0.0)
            line.claim(higher, waited_s * AGEING_S)
            claims = {"lower": line.claim(lower, 2.0), "higher": line.claim(higher, 2.0)}
            assert claims.pop(first) == Room(1, 1)
            assert list(claims.values()) == [Room(2, 2)]


def test_who_does_not_ask_again_is_forgotten_and_holds_nobody_up():
    server = Server(pages=0)
    server.opens(ask("left", 1000), 0.0)
    server.opens(ask("stays"), 0.0)
    server.closes(1)
    assert not server.opens(ask("stays"), FORGOTTEN_S - 0.1)
    assert server.opens(ask("stays"), FORGOTTEN_S + 0.1)


def test_a_long_session_is_not_starved_by_short_ones_that_would_fit():
    server = Server(pages=2)
    assert not server.opens(ask("long", pages=4), 0.0)
    assert not server.opens(ask("short"), 1.0)
    server.closes(3)
    assert server.opens(ask("short"), 1.1)  # there is room for both
    assert server.opens(ask("long", pages=4), 1.2)


def test_who_was_let_in_for_nothing_gets_its_place_back():
    """Another hop of its chain was full."""
    line = WaitingList()
    line.claim(ask("first"), 0.0)
    line.claim(ask("second"), 1.0)
    place = line.take(ask("first"), 2.0)
    assert line.claim(ask("second"), 2.0) == Room(1, 1)
    line.give_back(place, 2.1)
    assert line.claim(ask("second"), 2.2) == Room(2, 2)
    assert line.claim(ask("first"), 2.2) == Room(1, 1)


def test_background_sessions_go_last_whatever_they_pay():
    line = WaitingList()
    line.claim(ask("background", MAX_FEE, background=True), 0.0)
    assert line.claim(ask("on demand"), 2.0) == Room(1, 1)
    assert line.claim(ask("background", MAX_FEE, background=True), 2.0) == Room(2, 2)


def test_a_flood_of_openings_neither_fills_memory_nor_pushes_an_honest_waiter_out():
    line = WaitingList()
    honest = line.claim(ask("honest", 3), 0.0)
    for number in range(100):
        line.claim(ask("one address", number), 0.1)
    assert len(line) == 1 + PLACES_EACH
    for number in range(PLACES - len(line) - 1):
        line.claim(ask(f"address {number}"), 0.2)
    assert line.claim(ask("last"), 0.25).sessions == PLACES
    for number in range(PLACES, PLACES + 20):
        assert line.claim(ask(f"address {number}"), 0.3).sessions == PLACES + 1  # behind all, and without a place
    assert len(line) == PLACES
    assert line.claim(ask("last"), 0.35).sessions == PLACES
    assert line.claim(ask("honest", 3), 0.3).sessions == honest.sessions + PLACES_EACH  # those that do pay more
    assert line.claim(ask("late", 1), 0.4).sessions < PLACES  # a fee gets a place among them


@given(st.lists(st.tuples(st.floats(0.5, 2 * MAX_HEAD_START_S), st.integers(0, 2 * MAX_FEE)), max_size=40))
def test_nobody_starves(others):
    """A waiter without a fee, and others that come later, with any fee: once MAX_HEAD_START_S have passed nobody comes
    before it any more, and those that are before it by then are let in one after another."""
    line, came = WaitingList(), {"waiter": (0.0, ask("waiter"))}
    came |= {str(number): (when, ask(str(number), fee)) for number, (when, fee) in enumerate(others)}
    for now in range(0, int(2 * MAX_HEAD_START_S) + 3, 2):  # the server stays full, and all keep asking
        for when, wanted in came.values():
            if when <= now:
                line.claim(wanted, float(now))
    before = line.claim(ask("waiter"), float(now)).sessions - 1
    assert before <= sum(when <= MAX_HEAD_START_S for when, _ in others)
    for _ in range(before):
        first = next(wanted for _, wanted in came.values() if line.claim(wanted, float(now)) == Room(1, 1))
        assert came.pop(first.holder)[0] <= MAX_HEAD_START_S
        line.take(first, float(now))
    assert line.claim(ask("waiter"), float(now)) == Room(1, 1)


def test_the_background_session_that_pays_and_loses_least_gives_way_and_no_more_than_need_to():
    paid, new, old = Occupant("paid", 5, 2, 3), Occupant("new", 0, 2, 10), Occupant("old", 0, 2, 500)
    assert who_gives_way([paid, old, new], Room(1, 0)) == ["new"]
    assert who_gives_way([paid, old, new], Room(3, 1)) == ["new", "old"]
    assert who_gives_way([paid, old, new], Room(7, 1)) == []  # in vain
    assert who_gives_way([paid, old, new], Room(0, 0)) == []


def test_background_sessions_leave_some_room():
    assert background_reserve(Room(100, 16)) == Room(12, 2)
    assert background_reserve(Room(4, 1)) == Room(0, 0)


@pytest.mark.parametrize(
    ("caller", "network"),
    [
        ("ipv4:192.0.2.7:4711", "192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4711", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", "fe80::/64"),
        ("", ""),
    ],
)
def test_callers_of_one_network_are_one(caller, network):
    assert network_of(caller) == network


# --- the door of a server --------------------------------------------------------------------------------------------


class Guarded:
    """A door, the pages behind it and the sessions that it let in."""

    def __init__(self, config, pages: int, sessions: int):
        page_bytes = 2 * PAGE_TOKENS * config.num_kv_heads * config.head_dim * 4
        self.pool = PagePool(config, 1, torch.float32, pages * page_bytes, torch.device("cpu"))
        self.sessions: dict = {}
        self.clock = Clock()
        self.door = Door(self.pool, sessions, self.sessions, self.clock)

    def opens(self, pages: int = 1, caller: str = "ipv4:192.0.2.1:1", **payment: object) -> Session:
        request = pb.Open(session_id=os.urandom(16), stop=2, wire_dtype=pb.FLOAT32, max_tokens=pages * PAGE_TOKENS)
        for name, value in payment.items():
            setattr(request.payment, name, value)
        place = self.door.enter(request, caller)
        session = open_session(request, self.pool.allocate(request.max_tokens), place, self.clock)
        self.sessions[session.reservation.key] = session
        return session

    def closes(self, session: Session) -> None:
        del self.sessions[session.reservation.key]
        self.pool.free(session.reservation.pages)
        self.door.left(session)


@pytest.fixture
def guarded(demo_checkpoint):
    return lambda *room: Guarded(demo_checkpoint.config, *room)


def ended(*sessions: Session) -> list[bool]:
    return [session.outbox.ended for session in sessions]


def test_room_that_is_left_goes_to_the_higher_fee_though_it_asked_later(guarded):
    early, paying = {"caller": "ipv4:192.0.2.2:1"}, {"caller": "ipv4:192.0.2.9:1", "bid": 1000}
    server = guarded(4, 1)
    held = server.opens()
    held.accept(make_step(0, 1))
    for request in (early, paying):
        with pytest.raises(PeerBusy):
            server.opens(**request)
    server.closes(held)
    with pytest.raises(PeerBusy, match="go first"):
        server.opens(**early)
    assert server.opens(**paying).reservation.priority_fee == 1000


def test_an_on_demand_session_ends_as_many_background_sessions_as_it_needs_and_no_more(guarded):
    async def scenario() -> tuple[list[bool], list[bool]]:
        server = guarded(16, 16)
        background = [server.opens(4, batch=True, bid=fee) for fee in (3, 0, 2)]  # two pages stay free of others
        with pytest.raises(PeerBusy, match="no idle room"):
            server.opens(4, batch=True, caller="ipv4:192.0.2.3:1")
        server.opens(4)
        with pytest.raises(PeerBusy):
            server.opens(3)
        with pytest.raises(PeerBusy):
            server.opens(3)  # again, while the other is on its way out
        first = ended(*background)
        for session in background:
            if session.outbox.ended:
                server.closes(session)
        server.opens(3)
        return first, ended(*background)

    assert asyncio.run(scenario()) == ([False, True, False], [False, True, False])


def test_a_background_session_that_gets_no_turn_is_sent_elsewhere(guarded):
    async def scenario() -> tuple[list[bool], str]:
        server = guarded(4, 4)
        on_demand, starved, idle = server.opens(), server.opens(batch=True), server.opens(batch=True)
        for session in (on_demand, starved):
            session.accept(make_step(0, 1))
        server.door.sweep()
        assert not starved.outbox.ended
        server.clock.now_s += PATIENCE_S + 1
        server.door.sweep()
        told = await starved.outbox.next()
        return ended(on_demand, starved, idle), told.failure.code

    assert asyncio.run(scenario()) == ([False, True, False], "PeerBusy")


def test_a_session_that_never_fits_is_refused_and_not_waited_for(guarded):
    server = guarded(4, 4)
    with pytest.raises(PeerBusy, match="5 pages needed, 4 of 4 free"):
        server.opens(5)
    server.opens(4)


def test_a_session_that_is_open_is_not_opened_again_and_none_once_the_door_is_closed(guarded):
    server = guarded(4, 4)
    request = pb.Open(session_id=os.urandom(16), stop=2, wire_dtype=pb.FLOAT32, max_tokens=PAGE_TOKENS)
    place = server.door.enter(request, "")
    session = open_session(request, server.pool.allocate(1), place, server.clock)
    server.sessions[session.reservation.key] = session
    with pytest.raises(InvalidRequest, match="open here already"):
        server.door.enter(request, "")
    server.door.close()
    with pytest.raises(PeerBusy, match="leaving"):
        server.opens()
