"""What a server says of itself, when, and to whom: a directory that only remembers."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from swarm.peers.directory import Published
from swarm.peers.twins import Own, Twins, new_instance
from swarm.route.costs import PeerCosts
from swarm.server.announcement import Announcement, Figures, first_record
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.identity import Identity

QUOTE = Quote(bytes(32), price=Price(5, 100))
DIGESTS = (bytes(32), bytes(range(32)))


class Memory:
    """In the place of a Directory."""

    def __init__(self) -> None:
        self.published: list[pb.PeerRecord] = []
        self.refuses = 0  # publications that do not arrive

    async def own_record(self, model: str, peer_id: str) -> None:
        """There is nobody else."""

    async def publish(self, record: pb.PeerRecord, identity: Identity, life_s: float) -> Published:
        record.issued_ms = len(self.published)
        self.published.append(record)
        self.refuses -= 1
        return Published(b"hash %d" % len(self.published), self.refuses < 0)


class World:
    """An announcement, and what became of it."""

    def __init__(self) -> None:
        self.directory, self.posted = Memory(), []
        self.figures: Figures | None = None
        identity = Identity()
        record = first_record("me", "m", "r", 30, "float32", "none", pinned=False)
        self.own = Announcement(
            self.directory,
            identity,
            record,
            30.0,
            lambda: self.figures,
            lambda *quote: self.posted.append(quote),
            Twins(self.directory, Own(identity, "m", new_instance()), member=None),
        )

    def states(self) -> list[int]:
        return [record.state for record in self.directory.published]

    async def starts(self) -> None:
        await self.own.joining(0, 2, 4)
        self.own.loaded(DIGESTS, "int4", "n")
        self.own.listening("127.0.0.1", 4000, b"certificate")
        self.figures = Figures(pb.Load(free_pages=7), PeerCosts((0.25,)), QUOTE)
        await self.own.online()


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_known_is_said_in_the_order_in_which_it_becomes_known(world):
    asyncio.run(world.starts())
    joining, online = world.directory.published
    assert (joining.state, joining.start, joining.stop, joining.max_blocks) == (pb.JOINING, 0, 2, 4)
    assert not joining.HasField("load") and not joining.weights
    assert (online.state, online.load.free_pages, online.quote.decode) == (pb.ONLINE, 7, 100)
    assert list(online.costs.decode_us) == [250_000.0]
    assert (online.quant, online.numerics_id, online.endpoint.port) == ("int4", "n", 4000)


def test_a_record_can_be_paid_for_as_soon_as_it_asks_and_whatever_state_it_is_in(world):
    """Not before: a record without a quote must never stand for one that asks for nothing."""

    async def moves_and_stays() -> None:
        await world.starts()
        await world.own.moving()
        await world.own.online()

    asyncio.run(moves_and_stays())
    assert world.states() == [pb.JOINING, pb.ONLINE, pb.MOVING, pb.ONLINE]
    assert world.posted == [(b"hash 2", QUOTE), (b"hash 3", QUOTE), (b"hash 4", QUOTE)]


def test_figures_are_as_new_as_the_publication(world):
    async def gets_busy() -> None:
        await world.starts()
        world.figures = dataclasses.replace(world.figures, load=pb.Load(free_pages=1))
        await world.own.publish()

    asyncio.run(gets_busy())
    assert [record.load.free_pages for record in world.directory.published] == [0, 7, 1]


def test_what_does_not_arrive_is_said_again_soon(world, monkeypatch):
    """One that is tried again only when it would be due is gone from the directory if that fails, too."""
    pauses = keeps_current(world, monkeypatch, refuses=2, count=8)
    assert pauses == [1, 9, 2, 2, 1, 9, 1, 9]


def test_news_are_said_soon_and_those_of_one_moment_once(world, monkeypatch):
    def happens(pauses: list[float]) -> None:
        if len(pauses) == 3:
            world.own.say_again()
            world.own.say_again()

    pauses = keeps_current(world, monkeypatch, refuses=0, count=6, happens=happens)
    assert pauses == [1, 9, 1, 1, 9, 1]
    assert world.states() == [pb.JOINING] + 4 * [pb.ONLINE]


def test_what_did_not_arrive_at_first_is_said_as_soon_as_it_can_be(world, monkeypatch):
    async def starts() -> None:
        world.directory.refuses = 2  # both that it said so far

    asyncio.run(starts())
    pauses = keeps_current(world, monkeypatch, refuses=0, count=3)
    assert pauses == [1, 1, 9]


def keeps_current(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    refuses: int,
    count: int,
    happens: Callable[[list[float]], None] = lambda pauses: None,
) -> list[float]:
    """The first `count` pauses that it makes, none of which takes any time."""
    pauses: list[float] = []

    async def passes(seconds: float) -> None:
        pauses.append(seconds)
        happens(pauses)
        if len(pauses) == count:
            raise asyncio.CancelledError

    @asynccontextmanager
    async def passes_unless(seconds: float) -> AsyncIterator[None]:
        if not world.own._is_news.is_set():
            await passes(seconds)
            raise TimeoutError
        yield

    async def lives() -> None:
        await world.starts()
        monkeypatch.setattr("swarm.server.announcement.asyncio.sleep", passes)
        monkeypatch.setattr("swarm.server.announcement.asyncio.timeout", passes_unless)
        world.directory.refuses = refuses
        await world.own.keep_current()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(lives())
    return pauses


def test_nothing_but_goodbye_is_said_after_it(world):
    async def leaves() -> None:
        await world.starts()
        await world.own.leaving()
        await world.own.publish()
        await world.own.online()
        await world.own.moving()

    asyncio.run(leaves())
    assert world.states() == [pb.JOINING, pb.ONLINE, pb.LEAVING, pb.LEAVING]  # again, for whom did not hear it
    assert world.own.record.state == pb.LEAVING


def test_goodbye_is_said_until_the_directory_takes_it(world):
    async def leaves() -> None:
        await world.starts()
        world.directory.refuses = 2
        await world.own.leaving()

    asyncio.run(leaves())
    assert world.states() == [pb.JOINING, pb.ONLINE, pb.LEAVING, pb.LEAVING, pb.LEAVING]


def test_what_readers_hold_does_not_change_and_what_they_do_to_it_changes_nothing(world):
    asyncio.run(world.starts())
    before, message = world.own.record, world.own.message()
    message.start, message.state = 20, pb.LEAVING
    before.load.free_pages = 0
    asyncio.run(world.own.moving())
    assert (before.state, world.own.record.state) == (pb.ONLINE, pb.MOVING)
    assert (world.own.record.start, world.own.record.load.free_pages) == (0, 7)


def test_that_no_sessions_are_taken_is_said_once_and_at_once_and_so_is_the_end_of_it(world):
    async def fails() -> None:
        await world.starts()
        for why in ("", "its disk is full", "its disk is full", "x" * 500, ""):
            await world.own.pause(why)

    asyncio.run(fails())
    assert [record.paused for record in world.directory.published] == ["", "", "its disk is full", "x" * 200, ""]
