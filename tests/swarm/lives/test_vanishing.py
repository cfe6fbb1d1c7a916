"""Clients that vanish, and servers that stop or are full."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

import swarm
from helpers import in_background, pages_in_use, statuses, wait_until
from swarm.client.background import wait

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    blocks = ["0:10", "10:20", "20:30"]
    with swarm.LocalSwarm("demo", blocks, quant="int4", dtype="float32", threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def client(local) -> Iterator[swarm.Client]:
    with swarm.Client("demo", local.peers) as client:
        yield client


@pytest.fixture(scope="module")
def expected(client) -> list[int]:
    return client.generate(PROMPT, max_new_tokens=24, ignore_eos=True).token_ids


# --- clients that vanish ---------------------------------------------------------------------------------------------

VANISHING_CLIENT = """
    import sys, swarm
    client = swarm.Client("demo", sys.argv[1:])
    stream = client.stream("Once upon a time", max_new_tokens=2000, ignore_eos=True)
    for _ in range(5):
        next(stream)
    print("generating", flush=True)
    for _ in stream:
        pass
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_pages_of_a_client_that_vanishes_come_back_within_5_s(local, client, how):
    command = [sys.executable, "-c", textwrap.dedent(VANISHING_CLIENT), *local.peers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "generating\n"
            assert pages_in_use(client) > 0
            other.send_signal(how)
            assert wait_until(lambda: pages_in_use(client) == 0, timeout_s=5)
        finally:
            other.kill()


@pytest.mark.parametrize("rounds", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_hundreds_of_sessions_open_and_close_under_garbage_collection(client, rounds):
    """Nothing may wait for the event loop from inside a finaliser, and no page may be lost."""
    thresholds = gc.get_threshold()
    gc.set_threshold(50, 2, 2)
    try:

        async def many() -> None:
            for round_ in range(rounds):
                sessions = await asyncio.gather(*(client.parts.generator.open_session(40) for _ in range(8)))
                for session in sessions[round_ % 2 :]:
                    session.close()
                if round_ % 2:  # the first is closed too, and left to the collector in a cycle of its own
                    sessions[0].cycle = sessions[0]
                    sessions[0].close()
                del sessions

        wait(many())
    finally:
        gc.set_threshold(*thresholds)
    assert wait_until(lambda: pages_in_use(client) == 0, timeout_s=5)


# --- servers that fail -----------------------------------------------------------------------------------------------


def test_a_server_that_stops_says_goodbye_and_finishes_its_sessions(local, client, expected):
    leaver = local.start("10:20")
    assert leaver.peer_id in {status.record.peer_id for status in statuses(client)}
    others = [server for server in local.servers if server.blocks == (10, 20) and server is not leaver and server.alive]
    for other in others:
        other.stop()  # so that the leaver is in use
    with swarm.Client("demo", local.peers, coverage_timeout_s=0.0) as fresh:
        stream = fresh.stream(PROMPT, max_new_tokens=24, ignore_eos=True)
        next(stream)
        stopping = in_background(leaver.stop)
        for _ in stream:
            pass
        assert stream.generation.token_ids == expected
        assert stream.generation.reroutes == 0
        stopping.result(60)
        with pytest.raises(swarm.NoRoute, match=r"no peer serves blocks 10:20"):
            fresh.generate(PROMPT, max_new_tokens=2)
    local.start("10:20")


def test_a_full_server_says_busy_and_waiting_clients_get_their_turn(tmp_path):
    with swarm.LocalSwarm("demo", ["0:30"], quant="int4", threads=1, max_sessions=2) as local:
        with swarm.Client("demo", local.peers) as client:
            outs = client.generate([PROMPT] * 6, max_new_tokens=4)
            assert len({tuple(out.token_ids) for out in outs}) == 1
        with swarm.Client("demo", local.peers, busy_timeout_s=0.3) as hasty:
            stream = hasty.stream([PROMPT] * 2, max_new_tokens=200, ignore_eos=True)
            next(stream)
            time.sleep(0.5)
            with pytest.raises(swarm.PeerBusy, match="all 2 sessions"):
                hasty.generate(PROMPT)
            stream.close()
