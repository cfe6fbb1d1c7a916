"""A session that begins while nobody serves some blocks waits for them."""

import asyncio
from collections.abc import Callable, Collection

import pytest

from memory_hops import OPTIONS, MemoryHop, chain_of
from swarm.errors import NoRoute, PeerBusy
from swarm.route.route import Hop, uncovered
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.session.opening import open_session
from swarm.session.router import OpenSessions

# --- nobody serves it ------------------------------------------------------------------------------------------------


class Openings:
    """A router for `open_session`. nobody_until: looks for a chain that find nobody."""

    def __init__(self, hop: MemoryHop, nobody_until: int):
        self._hop, self._left = hop, nobody_until
        self.sessions = OpenSessions()

    async def choose(self, avoid: Collection[str]) -> list[Hop]:
        self._left -= 1
        if self._left >= 0:
            raise uncovered([], 30, 4, 6)
        return [self._hop.hop]

    def connection_to(self, peer: object) -> MemoryHop:
        return self._hop


def opened(looks: int, timeout_s: float, told: list[str], choose: Callable | None = None) -> None:
    (hop,) = chain_of((0, 30))
    router = Openings(hop, looks)

    async def run() -> None:
        coverage = WaitForCoverage(timeout_s, told.append, Waits())
        session = await open_session(router, 60.0, coverage, choose or router.choose, lambda hops: OPTIONS)
        session.close()

    asyncio.run(run())


@pytest.mark.parametrize("timeout_s", [30.0, 29.9])
def test_a_session_that_begins_while_nobody_serves_some_blocks_waits_and_says_so(caplog, timeout_s):
    told: list[str] = []
    opened(2, timeout_s, told)
    waiting = "waiting for blocks 4:6; nobody serves them"
    assert told == [f"{waiting} (30 s more)"] * 2 + [""]
    assert [record.message for record in caplog.records] == [f"{waiting} (30 s more, Ctrl-C to stop)"]


def test_a_session_that_waited_long_enough_names_the_missing_blocks():
    told: list[str] = []
    with pytest.raises(NoRoute, match="no peer serves blocks 4:6"):
        opened(1, 0.0, told)
    assert told in ([], [""])


def test_a_session_that_begins_while_all_are_too_dear_waits_for_them_to_ask_less_and_says_so():
    dear, told = iter([NoRoute("no chain costs at most 1")]), []
    (hop,) = chain_of((0, 30))

    async def choose(avoid: Collection[str]) -> list[Hop]:
        for error in dear:
            raise error
        return [hop.hop]

    opened(0, 30.0, told, choose)
    assert told == ["waiting, since no chain costs at most 1 (30 s more)", ""]


def test_what_was_waited_for_is_taken_back_when_peers_come_that_have_no_room():
    """Which is another wait: it has its own limit, and what was left of the first is no part of it."""
    looks, told = iter([uncovered([], 30, 4, 6), PeerBusy("no room"), uncovered([], 30, 4, 6)]), []
    (hop,) = chain_of((0, 30))

    async def choose(avoid: Collection[str]) -> list[Hop]:
        for error in looks:
            raise error
        return [hop.hop]

    opened(0, 30.0, told, choose)
    waiting = "waiting for blocks 4:6; nobody serves them (30 s more)"
    assert told == [waiting, "", waiting, ""]
