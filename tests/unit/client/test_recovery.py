"""Recovery's parts one by one, against stand-ins for the network: orders of events that real servers show rarely."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from swarm.errors import NoRoute, PeerUnreachable, RevisionMismatch
from swarm.peers.policy import Terms
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.server.session.next_hop import NextHop
from swarm.session.chain import Chain, SessionOptions
from swarm.session.hop import HopFailed
from swarm.session.router import Router
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.journal import Journals

HIDDEN = 4
OPTIONS = SessionOptions("m", "r", HIDDEN, torch.float32, 100, 1.0, 1.0)
GONE = HopFailed(PeerUnreachable("gone"), ["x"])


def peer(name: str, start: int = 0, stop: int = 10, **changes: object) -> PeerInfo:
    endpoint = pb.Endpoint(peer_id=name, host="127.0.0.1", port=1)
    info = PeerInfo(name, "m", "r", start, stop, 30, "float32", "none", "", endpoint, False, 0, 2**60, pb.Load())
    return replace(info, **changes)


def rows(count: int) -> torch.Tensor:
    return torch.arange(count * HIDDEN, dtype=torch.float32).reshape(count, HIDDEN)


class FakeStream:
    """Takes steps as a hop would: those that leave a gap are refused, those that are older than others dropped.

    pause_before: the step, counted from 0, before whose arrival others get their turn.
    """

    def __init__(self, failure: HopFailed | None = None, pause_before: int = -1):
        self.failure, self._pause_before = failure, pause_before
        self.hop = Hop(peer("x"), 0, 10)
        self.length = self.newest = self._taken = 0
        self.refused: list[str] = []

    async def send(self, step: pb.Step) -> None:
        if self.failure:
            raise self.failure
        self._taken += 1
        if self._taken - 1 == self._pause_before:
            await asyncio.sleep(0.01)
        if step.seq < self.newest:
            return
        if step.position > self.length:
            self.refused.append(f"position {step.position} leaves a gap after {self.length}")
            return
        self.newest, self.length = step.seq, step.position + step.count

    def close(self) -> None:
        pass


class FakeLink:
    def __init__(self):
        self.sent: list[pb.Step] = []

    def send(self, step: pb.Step) -> None:
        self.sent.append(step)


class FakeLinks:
    """A link for each endpoint."""

    def __init__(self):
        self.links: dict[str, FakeLink] = {}

    async def acquire(self, endpoint: pb.Endpoint) -> FakeLink:
        return self.links.setdefault(endpoint.peer_id, FakeLink())

    def release(self, link: FakeLink) -> None:
        pass


# --- a hop that is being filled --------------------------------------------------------------------------------------


def test_what_a_hop_still_has_to_be_filled_with_reaches_a_successor_that_was_replaced_meanwhile():
    """Hop k is being filled by replays of number 7; its successor dies; the next was opened at number 9."""

    async def scenario() -> list[pb.Step]:
        links = FakeLinks()
        request = pb.Open(session_id=b"s" * 16, stop=10, wire_dtype=pb.FLOAT32, max_tokens=100, seq=5)
        journals = Journals(HIDDEN, 2**20)
        journal = journals.open(pb.FLOAT32)
        next_hop = NextHop(request, links, journal, lambda step: None)

        def send(step: pb.Step) -> None:
            journals.record(journal, step.position, step.hidden.data)
            next_hop.send(step)

        await next_hop.connect(pb.Endpoint(peer_id="old"))
        send(replay(0, 8, seq=7))
        await next_hop.reroute(pb.Reroute(next=pb.Endpoint(peer_id="new"), seq=10, answered=16))
        send(replay(8, 8, seq=7))
        return links.links["new"].sent

    sent = asyncio.run(scenario())
    assert [(step.position, step.count) for step in sent] == [(0, 8), (8, 8)]
    assert all(step.seq >= 10 for step in sent)


def replay(position: int, count: int, seq: int) -> pb.Step:
    hidden = codec.encode(rows(count), torch.float32)
    return pb.Step(position=position, count=count, hidden=hidden, want=pb.NOTHING, replay=True, seq=seq)


def test_a_session_on_a_replacement_is_newer_than_any_step_sent_before_it_was_opened():
    """That step may come to it late, through the client, from a predecessor that could not deliver it."""

    async def scenario() -> tuple[int, int]:
        chain = Chain(OPTIONS)
        chain.streams = [FakeStream()]
        await chain.send(0, rows(4), pb.LAST)
        return chain.streams[0].newest, chain._open_request(Hop(peer("y"), 0, 10), None).seq

    sent, opened = asyncio.run(scenario())
    assert sent < opened


# --- the first hop's replacement -------------------------------------------------------------------------------------


def test_tokens_sent_while_the_first_hops_replacement_is_filled_arrive_after_what_precedes_them():
    async def scenario() -> FakeStream:
        chain = Chain(OPTIONS)
        chain.streams = [FakeStream()]
        await chain.send(0, rows(400), pb.LAST)  # replayed in two messages
        shadow = FakeStream(pause_before=1)
        filling = asyncio.create_task(chain.follow(shadow))
        await asyncio.sleep(0)
        await chain.send(400, rows(1), pb.LAST)
        await filling
        await chain.send(401, rows(1), pb.LAST)
        return shadow

    shadow = asyncio.run(scenario())
    assert not shadow.refused
    assert shadow.length == 402


def test_a_first_hops_replacement_that_dies_before_the_handover_costs_no_step():
    async def scenario() -> int:
        chain = Chain(OPTIONS)
        chain.streams = [FakeStream()]
        await chain.follow(FakeStream(failure=GONE))
        await chain.send(0, rows(4), pb.LAST)
        return chain.streams[0].length

    assert asyncio.run(scenario()) == 4


# --- who may take over -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"quant": "int4"}, {"dtype": "bfloat16"}, {"revision": "other"}])
def test_a_replacement_is_what_the_client_would_have_chosen_in_the_first_place(changes):
    class FakeDirectory:
        async def peers(self, model: str) -> list[PeerInfo]:
            return [peer("other", **changes)]

        async def leave(self) -> None:
            pass

    checkpoint = SimpleNamespace(name="m", revision="r", config=SimpleNamespace(num_blocks=30, hidden_size=HIDDEN))

    async def scenario() -> None:
        terms = Terms("float32", "none")
        table = PeerTable(FakeDirectory(), checkpoint, [terms])
        try:
            await Router(table, terms, 4 * HIDDEN).replacement([Hop(peer("lost"), 0, 10)], None, None, 1, ())
        finally:
            await table.close()

    with pytest.raises((NoRoute, RevisionMismatch)):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    "others, expected",
    [([], []), ([(0, 9)], []), ([(0, 6), (5, 30)], [0, 10]), ([(0, 6), (7, 30)], [10])],
)
def test_for_whom_anybody_could_take_over_is_known_without_asking(others, expected):
    class FakeDirectory:
        async def peers(self, model: str) -> list[PeerInfo]:
            lost = [peer("lost", 0, 10), peer("lost too", 10, 20)]
            return [*lost, *(peer(f"other {start}", start, stop) for start, stop in others)]

        async def leave(self) -> None:
            pass

    checkpoint = SimpleNamespace(name="m", revision="r", config=SimpleNamespace(num_blocks=30, hidden_size=HIDDEN))

    async def scenario() -> list[Hop]:
        table = PeerTable(FakeDirectory(), checkpoint, [Terms()])
        try:
            await table.refresh()
            lost = [Hop(peer("lost"), 0, 10), Hop(peer("lost too", 10, 20), 10, 20)]
            return Router(table, Terms(), 4 * HIDDEN).replaceable(lost)
        finally:
            await table.close()

    assert [hop.start for hop in asyncio.run(scenario())] == expected
