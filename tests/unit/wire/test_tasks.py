"""Sets of background tasks, and asking many peers at once."""

import asyncio
import logging
import subprocess
import sys

import pytest

from swarm.errors import PeerUnreachable, SwarmError
from swarm.peers.poll import poll
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.tasks import Shared, TaskSet


async def sleep_for_ever() -> None:
    await asyncio.Event().wait()


async def fail(error: Exception) -> None:
    raise error


def test_a_task_is_kept_until_it_ends():
    async def run() -> None:
        tasks = TaskSet("owner")
        done = asyncio.Event()
        task = tasks.start(done.wait(), "waiting")
        assert (len(tasks), task.get_name()) == (1, "owner: waiting")
        done.set()
        await tasks.idle()
        assert len(tasks) == 0

    asyncio.run(run())


def test_to_wait_for_idleness_includes_what_begins_meanwhile():
    async def run() -> None:
        tasks, ended = TaskSet("owner"), []

        async def first() -> None:
            await asyncio.sleep(0)
            tasks.start(second())

        async def second() -> None:
            await asyncio.sleep(0)
            ended.append("second")

        tasks.start(first())
        await tasks.idle()
        assert ended == ["second"]

    asyncio.run(run())


def test_idleness_is_waited_for_no_longer_than_asked():
    async def run() -> None:
        tasks = TaskSet("owner")
        tasks.start(sleep_for_ever())
        await tasks.idle(timeout_s=0.0)
        assert len(tasks) == 1
        await tasks.close()

    asyncio.run(run())


def test_closing_ends_what_has_not_ended_in_time():
    async def run() -> None:
        tasks, ended = TaskSet("owner"), []

        async def quick() -> None:
            await asyncio.sleep(0)
            ended.append("quick")

        tasks.start(quick())
        endless = tasks.start(sleep_for_ever())
        await tasks.close(grace_s=0.05)
        assert (ended, endless.cancelled(), len(tasks)) == (["quick"], True, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "level"), [(SwarmError("refused"), logging.WARNING), (KeyError("bug"), logging.ERROR)]
)
def test_a_failure_is_logged_raised_to_who_waits_and_ends_no_other(error, level, caplog):
    async def run() -> None:
        tasks = TaskSet("owner")
        other = tasks.start(sleep_for_ever())
        tasks.start(fail(error), "failing")
        with pytest.raises(type(error)):
            await tasks.failed()
        assert not other.done()
        await tasks.close()

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert [record.levelno for record in caplog.records if "owner: failing" in record.getMessage()] == [level]


def peers(count: int) -> list[PeerInfo]:
    return [
        PeerInfo(str(index), "m", "r", 0, 10, 30, "float32", "none", "", pb.Endpoint(), 0, 0, 0, pb.Load())
        for index in range(count)
    ]


def test_peers_are_asked_so_many_at_a_time_and_the_silent_left_out():
    running, most = 0, 0

    async def ask(peer: PeerInfo) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if peer.peer_id == "3":
            raise PeerUnreachable("no answer")
        return int(peer.peer_id)

    answers = asyncio.run(poll(peers(10), ask, at_once=4))
    assert list(answers.items()) == [(str(i), i) for i in range(10) if i != 3]
    assert most == 4


def test_a_peer_that_says_nothing_holds_up_no_other():
    async def ask(peer: PeerInfo) -> None:
        if peer.peer_id == "0":
            await sleep_for_ever()

    assert asyncio.run(poll(peers(3), ask, at_once=1, timeout_s=0.01)) == {"1": None, "2": None}


# --- what many want --------------------------------------------------------------------------------------------------


async def ask_all(shared: Shared, gate: asyncio.Event, count: int) -> list[asyncio.Task[None]]:
    """One begins, others ask meanwhile, and then it goes on."""
    first = asyncio.create_task(shared())
    await asyncio.sleep(0)
    others = [asyncio.create_task(shared()) for _ in range(count)]
    await asyncio.sleep(0)
    gate.set()
    return [first, *others]


def test_what_many_ask_for_while_it_goes_on_is_done_once_more_for_all_of_them():
    """And not by what was under way: it may have begun too early to show what they ask for."""
    begun: list[int] = []

    async def scenario() -> None:
        gate = asyncio.Event()

        async def step() -> None:
            begun.append(len(begun))
            await gate.wait()

        await asyncio.gather(*await ask_all(Shared(step), gate, 63))

    asyncio.run(scenario())
    assert begun == [0, 1]


def test_where_the_one_who_does_it_is_cancelled_the_next_does_it():
    done: list[int] = []

    async def scenario() -> None:
        async def step() -> None:
            await asyncio.sleep(0.01)
            done.append(1)

        shared = Shared(step)
        first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
        await asyncio.sleep(0.001)
        first.cancel()
        await second

    asyncio.run(scenario())
    assert done == [1]


def test_what_is_not_needed_any_more_is_not_done():
    done: list[int] = []

    async def scenario() -> None:
        async def step() -> None:
            await asyncio.sleep(0)
            done.append(1)

        shared = Shared(step)
        await asyncio.gather(*(shared(unless=lambda: bool(done)) for _ in range(9)))

    asyncio.run(scenario())
    assert done == [1]


ENDS = """
import asyncio, atexit, sys, threading
from swarm.client.background import wait
from swarm.wire.tasks import TaskSet

began, failed = threading.Event(), threading.Event()

async def works(fault):
    await asyncio.to_thread(began.set)
    while threading.main_thread().is_alive():
        await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.1, failed.set)
    if fault:
        raise ValueError("a fault")
    await asyncio.to_thread(print)

async def begin():
    if sys.argv[2] == "set":
        TaskSet("owner").start(works(sys.argv[1] == "fault"), "working")
    else:
        asyncio.create_task(works(sys.argv[1] == "fault"))

atexit.register(failed.wait, 60)
wait(begin())
began.wait()
"""


@pytest.mark.parametrize("whose", ["set", "nobody"])
def test_that_a_process_ends_is_no_failure_of_its_tasks_and_a_fault_is(whose):
    def told(what: str) -> str:
        command = [sys.executable, "-c", ENDS, what, whose]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stderr

    assert told("end") == ""
    assert "ValueError: a fault" in told("fault")
