"""Processes whose machines' clocks are off, or are set while they run."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

import warm
from harness.clocked_nodes import ClockedNodes
from harness.shifted_clock import ShiftedClock
from helpers import wait_until
from swarm import clock
from swarm.peers.dht import timekeeper
from swarm.peers.directory import Directory
from swarm.wire.secret import Secret

SAME_S = 0.5  # that clocks may be apart here, on a busy machine


SECRET = Secret.generate()


@asynccontextmanager
async def honest(*hosts: str, secret: str | None = None):
    """Nodes of this process, whose clock is right, and who look round often. Gives addresses to join at."""
    nodes, peers = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timekeeper, "ASK_EVERY_S", 1.0)
        try:
            for host in hosts:
                nodes.append(await Directory.join(peers, host=host, secret=Secret(secret) if secret else None))
                peers = peers or await nodes[0].addresses()
            yield peers
        finally:
            await asyncio.gather(*(node.leave() for node in nodes))


def beside(look: Callable[[list[str]], object], *hosts: str, secret: str | None = None) -> object:
    """What `look` sees, which is given addresses of honest nodes."""

    async def scenario() -> object:
        async with honest(*hosts or ("127.0.0.1",), secret=secret) as peers:
            return await asyncio.to_thread(look, peers)

    return asyncio.run(scenario())


@pytest.mark.parametrize("ahead_s, secret, line", [
    (-595.0, None, "this machine's clock is 10 min behind the swarm's; its messages use the swarm's time"),
    (62.0, SECRET, "this machine's clock is 62 s ahead of the swarm's; its messages use the swarm's time"),
], ids=["open", "private"])  # fmt: skip
def test_a_process_whose_clock_is_off_goes_by_the_swarms_time_and_says_so_once(tmp_path, ahead_s, secret, line):
    def look(peers: list[str]) -> tuple[float, str]:
        with ClockedNodes(ShiftedClock(tmp_path, ahead_s).environment, peers=peers, secret=secret) as node:
            return node.ahead_s(), node.close()

    apart_s, said = beside(look, secret=secret)
    assert abs(apart_s) < SAME_S
    assert [one for one in said.splitlines() if "clock" in one] == [line]


@pytest.mark.parametrize("ahead_s", [86_400.0, -86_400.0])
def test_a_clock_that_is_a_day_off_is_one_error_that_names_both_times(tmp_path, ahead_s):
    def look(peers: list[str]) -> tuple[dict[str, object], str]:
        with ClockedNodes(ShiftedClock(tmp_path, ahead_s).environment, peers=peers) as node:
            return node.said, node.close()

    today, other_day = (clock.moment(time.time() + by_s).split()[0] for by_s in (0.0, ahead_s))
    said, stderr = beside(look)
    assert f"this machine's clock says {other_day}" in said["error"]
    assert f"the swarm's {today}" in said["error"]
    assert "they are 1 day apart" in said["error"] and "Set this machine's clock" in said["error"]
    assert stderr == ""


def test_a_machine_whose_clock_is_set_while_a_node_runs_changes_nothing(tmp_path):
    shifted = ShiftedClock(tmp_path)

    def look(peers: list[str]) -> list[float]:
        with ClockedNodes(shifted.environment, peers=peers) as node:
            before_s = node.ahead_s()
            shifted.set(300.0)
            time.sleep(4.5)  # longer than it takes to ask others
            return [before_s, node.ahead_s()]

    assert max(map(abs, beside(look))) < SAME_S
    assert abs(clock.CLOCK.machine_ahead_s()) < SAME_S


def test_fewer_liars_than_honest_peers_move_neither_who_comes_nor_who_is_there(tmp_path):
    def look(peers: list[str]) -> tuple[float, float, bool]:
        liars = ClockedNodes(start=warm.start, hosts=["127.0.0.4", "127.0.0.5"], peers=peers, lie_s=540.0)
        with liars, ClockedNodes(start=warm.start, peers=[*liars.addresses, *peers]) as newcomer:
            came_s, was_there_s = newcomer.ahead_s(), clock.CLOCK.machine_ahead_s()
            assert abs(newcomer.stand_still(40.0) + 40.0) < SAME_S
            return came_s, was_there_s, wait_until(lambda: abs(newcomer.ahead_s()) < SAME_S, 20)

    came_s, was_there_s, is_back = beside(look, "127.0.0.1", "127.0.0.2", "127.0.0.3")
    assert max(abs(came_s), abs(was_there_s)) < SAME_S
    assert is_back


def test_two_that_come_back_each_on_its_own_come_to_one_time_again(tmp_path):
    """As after a power cut: neither finds the other at first, and their clocks are a minute apart."""

    def start(name: str, ahead_s: float) -> ClockedNodes:
        options = {"memory": str(tmp_path / name), "settled_s": 600.0}
        if not ahead_s:
            return ClockedNodes(start=warm.start, **options)
        return ClockedNodes(ShiftedClock(tmp_path, ahead_s).environment, **options)

    gone = {"seen": ["/ip4/127.0.0.1/tcp/1"], "given": [], "met_s": 0.0}
    known = {"16Uiu2HAmNQ49VdueRfCyyELaunGkJqsjV1S1jbvMZwK2rY3TiUFv": gone}
    for name in ("first", "second"):
        (tmp_path / name).write_text(json.dumps(known))
    with start("first", 0.0) as first, start("second", 60.0) as second:
        assert abs(second.ahead_s() - 60.0) < SAME_S
        both = [*first.addresses, *second.addresses]
        with ClockedNodes(start=warm.start, peers=both, settled_s=600.0):  # through which they meet
            assert wait_until(lambda: abs(second.ahead_s() - first.ahead_s()) < SAME_S, 20)
