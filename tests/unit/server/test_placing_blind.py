"""A directory that does not answer says nothing of who is there."""

import asyncio

import pytest

from records import make_record
from swarm.errors import PeerUnreachable, SwarmError, from_wire
from swarm.route.peer import PeerInfo
from swarm.server import placing
from swarm.server.placing import Placing
from swarm.wire.identity import Identity


class Silent:
    """A directory that does not answer, so many times; then nobody else is there."""

    def __init__(self, times: int):
        self.left = times

    async def peers(self, model: str, joining: bool = False) -> list[PeerInfo]:
        self.left -= 1
        if self.left >= 0:
            raise PeerUnreachable("the directory does not answer")
        return []


class Told:
    """An announcement of blocks 2:4 of 8 by a server that could hold 6, and what was announced since."""

    def __init__(self) -> None:
        message = make_record(Identity(), start=2, stop=4, num_blocks=8, max_blocks=6)
        self.record, self.said = PeerInfo.of(message), []

    async def moving(self) -> None:
        self.said.append("moving")

    async def online(self) -> None:
        self.said.append("online")

    async def joining(self, start: int, stop: int, max_blocks: int) -> None:
        self.said.append((start, stop))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(placing, "SETTLE_S", (0.0, 0.0))
    monkeypatch.setattr(placing, "RETRY_S", 0.0)
    monkeypatch.setattr(placing, "worth_moving", lambda move, reload_s: True)


def test_a_server_does_not_leave_its_blocks_because_it_sees_nobody_else():
    told = Told()
    assert asyncio.run(Placing(Silent(10**9), told).next_move(1.0)) is None
    assert told.said == []
    assert asyncio.run(Placing(Silent(0), told).next_move(1.0)) is not None  # if nobody else is there, it does


def test_a_server_that_starts_asks_until_it_knows():
    told, directory = Told(), Silent(3)
    chosen = asyncio.run(Placing(directory, told).choose(4, 1.0))
    assert directory.left < 0 and told.said == [(chosen.start, chosen.stop)]


def test_what_a_peer_says_is_fit_for_a_terminal():
    error = from_wire("PeerBusy", "full\x1b[2J\n" + "x" * 10**6)
    assert isinstance(error, SwarmError) and str(error).startswith("full [2J x") and len(str(error)) <= 1_000


def test_blocks_of_a_peer_that_is_listed_and_gone_are_not_taken_for_served():
    """Its record outlives it for a while."""
    gone, there = (PeerInfo.of(make_record(Identity(), start=start, stop=start + 4, num_blocks=8)) for start in (0, 4))

    class Listing(Silent):
        async def peers(self, model: str, joining: bool = False) -> list[PeerInfo]:
            return [gone, there]

    async def ask(peer: PeerInfo) -> None:
        if peer is gone:
            raise PeerUnreachable("no answer")

    chosen = asyncio.run(Placing(Listing(0), Told(), ask).choose(4, 1.0))
    assert (chosen.start, chosen.stop) == (0, 4)
    everybody = asyncio.run(Placing(Listing(0), Told(), lambda peer: asyncio.sleep(0)).choose(8, 1.0))
    assert (everybody.start, everybody.stop) == (0, 8)
