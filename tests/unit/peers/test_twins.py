"""Two processes with one key, in a real directory: who notices, who stays, and whose goodbye counts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from clock import Clock
from helpers import TwoNodes
from records import make_record
from swarm.clock import CLOCK
from swarm.errors import InvalidRequest, SwarmError
from swarm.peers import record as records
from swarm.peers.directory import Directory
from swarm.peers.twins import Own, Twins, new_instance, others_than, refuse_to_join
from swarm.server.announcement import Announcement
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from swarm.wire.tls import make_certificate
from swarm.wire.transport import serve

LIFE_S = 30.0
EARLIER, LATER = b"\x00" * 16, b"\xff" * 16


class Unseeing:
    """In the place of the directory, for as long as two halves of a swarm have not met."""

    async def own_record(self, model: str, peer_id: str) -> None:
        """There is nobody."""


class Process:
    """What a server is to others: a record, and, if it has come so far, a service that says the same."""

    def __init__(self, directory: Directory, identity: Identity, instance: bytes, clock: Callable[[], float]):
        self._certificate, self._service = make_certificate(), None
        self.identity, self.instance = identity, instance
        record = make_record(identity, instance=instance, state=pb.JOINING)
        record.ClearField("endpoint")
        self.twins = Twins(directory, Own(identity, "demo", instance), None, clock)
        self.own = Announcement(directory, identity, record, LIFE_S, lambda: None, lambda *quote: None, self.twins)

    async def serves(self) -> None:
        async def status(request: pb.StatusRequest, context: object) -> pb.Status:
            self.twins.hear(request.greeting, "ipv4:127.0.0.1:5")
            return pb.Status(record=self.own.message())

        never = dict.fromkeys(("session", "push", "deposit", "withdraw", "tender"))
        self._service, port = await serve("127.0.0.1", 0, self._certificate, 2**20, status=status, **never)
        self.own.listening("127.0.0.1", port, self._certificate.certificate_der)
        await self.own.online()

    async def serves_unseeing(self) -> None:
        directory, self.twins._directory = self.twins._directory, Unseeing()
        await self.serves()
        self.twins._directory = directory

    async def dies(self) -> None:
        if self._service:
            await self._service.stop(0)
            self._service = None


class World:
    def __init__(self, first: Directory, second: Directory):
        self.directories, self.clock, self.processes = [first, second], Clock(), []
        self.identity = Identity()

    def process(self, instance: bytes | None = None) -> Process:
        directory = self.directories[len(self.processes) % 2]
        one = Process(directory, self.identity, new_instance() if instance is None else instance, self.clock)
        self.processes.append(one)
        return one

    async def listed(self) -> bytes | None:
        """The instance that everybody sees; None if there is nobody."""
        found = await self.directories[0].peers("demo", joining=True)
        return found[0].instance if found else None


def in_a_directory(story: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with TwoNodes() as (first, second):
            world = World(first, second)
            try:
                await story(world)
            finally:
                for process in world.processes:
                    await process.dies()

    asyncio.run(run())


def test_a_second_process_does_not_begin_and_both_say_so(caplog):
    async def story(world: World) -> None:
        first, second = world.process(), world.process()
        await first.serves()
        with pytest.raises(SwarmError, match=r"key is in use at 127\.0\.0\.1:\d+ already"):
            await second.twins.refuse()
        assert "used by another process, too, on the machine that calls from ipv4:127.0.0.1:5" in caplog.text
        assert await world.listed() == first.instance

    with caplog.at_level(logging.WARNING):
        in_a_directory(story)


def test_what_a_crash_left_behind_is_no_twin():
    async def story(world: World) -> None:
        first, second = world.process(LATER), world.process()
        await first.serves()
        await first.dies()
        await second.twins.refuse()
        await second.serves()
        assert await world.listed() == second.instance

    in_a_directory(story)


def test_of_two_that_run_the_later_stops_and_its_goodbye_is_not_the_others(caplog):
    async def story(world: World) -> None:
        first, second = world.process(EARLIER), world.process(LATER)
        await first.serves()
        await second.serves_unseeing()
        await first.own.publish()
        assert "used by another process, too, at 127.0.0.1" in caplog.text
        caplog.clear()
        for said in ("", "used by another process, too"):  # once a minute
            await second.own._publish()
            await first.own.publish()
            assert said in caplog.text and bool(said) == bool(caplog.text)
            world.clock.now_s += 61
        with pytest.raises(SwarmError, match="by a process that started earlier: this one stops"):
            await second.own.publish()
        await second.own.leaving()
        assert await world.listed() == first.instance
        await second.dies()
        world.clock.now_s += 61
        await first.own.publish()
        await first.own.leaving()
        assert await world.listed() is None

    with caplog.at_level(logging.WARNING):
        in_a_directory(story)


def test_the_goodbye_of_the_one_that_stays_does_not_remove_the_other():
    async def story(world: World) -> None:
        first, second = world.process(EARLIER), world.process(LATER)
        await first.serves()
        await second.serves_unseeing()
        await first.own.publish()
        await second.own._publish()
        await first.own.leaving()
        assert await world.listed() == second.instance

    in_a_directory(story)


def test_a_twin_that_cannot_be_reached_is_known_by_its_renewing_its_record():
    """As one that loads yet, or behind another router. What a crash has left behind is not renewed."""

    async def story(world: World) -> None:
        first, second = world.process(EARLIER), world.process(LATER)
        await first.own.joining(0, 10, 10)
        await second.twins.refuse()
        world.clock.now_s += LIFE_S + 6
        await second.twins.look()
        await asyncio.sleep(0.01)
        await first.own.publish()
        world.clock.now_s += 10
        with pytest.raises(SwarmError, match="at an address that is not known yet, too"):
            await second.twins.look()

    in_a_directory(story)


def test_a_twin_of_the_last_version_is_told_of_and_does_not_end_who_runs(caplog):
    async def story(world: World) -> None:
        old, new = world.process(b""), world.process()
        await old.serves()
        with pytest.raises(SwarmError, match="already"):
            await new.twins.refuse()
        await new.twins.look()
        assert "used by another process, too" in caplog.text

    with caplog.at_level(logging.WARNING):
        in_a_directory(story)


def test_nobody_else_can_make_a_server_believe_in_a_twin(caplog):
    async def story(world: World) -> None:
        one = world.process()
        instance = new_instance()
        for greeting in (
            b"", b"x", bytes(200), instance + Identity().sign(b"swarm/twin/v1", instance), one.twins.greeting(),
        ):  # fmt: skip
            one.twins.hear(greeting, "somewhere")
        assert caplog.text == ""

    with caplog.at_level(logging.WARNING):
        in_a_directory(story)


def test_a_server_that_is_told_to_join_itself_begins_a_swarm_unless_somebody_is_there():
    own, other = "/ip4/127.0.0.1/tcp/9/p2p/me", "/ip4/127.0.0.1/tcp/9/p2p/you"
    assert others_than("me", [own, other]) == [other]
    refuse_to_join("me", [own])
    refuse_to_join("me", [])

    async def story(world: World) -> None:
        (address, *_) = await world.directories[0].addresses()
        peer_id = address.rpartition("/")[2]
        with pytest.raises(SwarmError, match="in use at"):
            refuse_to_join(peer_id, [address])

    in_a_directory(story)


def test_a_server_that_comes_back_by_a_clock_that_was_set_back_is_listed_at_once():
    """What it said before would otherwise outlive what it says now."""

    async def story(world: World) -> None:
        first, second = world.process(LATER), world.process()
        CLOCK.shift(300)
        try:
            await first.serves()
            await first.dies()
        finally:
            CLOCK.shift(-300)
        assert await world.listed() is None
        await second.twins.refuse()
        await second.serves()
        assert await world.listed() == second.instance

    in_a_directory(story)


def test_a_record_with_an_instance_of_another_size_is_refused():
    identity = Identity()
    assert records.verify(records.sign(make_record(identity, instance=EARLIER), identity)).instance == EARLIER
    with pytest.raises(InvalidRequest, match="instance"):
        records.verify(records.sign(make_record(identity, instance=b"short"), identity))
