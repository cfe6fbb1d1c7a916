"""Nodes of the directory that lost their daemon, each other, or all of them at once."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from daemons import daemon_of
from helpers import TwoNodes
from records import make_record
from swarm.errors import PeerUnreachable
from swarm.peers.directory import Directory
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret

LIMIT_S = 60.0  # for what takes a second on an idle machine


async def sees(directory: Directory, count: int) -> bool:
    return len(await directory.peers("demo")) == count


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await what():
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("secret", [None, Secret(Secret.generate())], ids=["open", "private"])
def test_a_node_whose_daemon_is_killed_is_back_at_its_address_with_all_that_it_held(tmp_path, secret):
    async def scenario():
        identity, returned = Identity.load_or_create(tmp_path / "key"), asyncio.Event()
        first = await Directory.join(identity_path=tmp_path / "key", secret=secret, on_return=returned.set)
        second = await Directory.join(await first.addresses(), secret=secret)
        await second.publish(make_record(identity), identity)
        before = await first.addresses()
        for _ in range(2):
            (await daemon_of(first)).kill()
            await asyncio.wait_for(returned.wait(), LIMIT_S)
            returned.clear()
            assert await first.addresses() == before
            await until(lambda: sees(first, 1))
        other = Identity()
        await first.publish(make_record(other), other)
        await until(lambda: sees(second, 2))
        await second.leave()
        await first.leave()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as servers do
        runner.run(scenario())


def test_a_node_that_was_given_no_key_keeps_its_name_all_the_same():
    """As that of a LocalSwarm, whose address is given to everybody."""

    async def scenario():
        first = await Directory.join()
        before = await first.addresses()
        (await daemon_of(first)).kill()

        async def is_back() -> bool:
            try:
                client = await Directory.join(before, client=True)
            except PeerUnreachable:
                return False
            await client.leave()
            return True

        await until(is_back)
        assert await first.addresses() == before
        await first.leave()

    asyncio.run(scenario())


def test_a_daemon_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr("swarm.peers.dht.node.CALL_TIMEOUT_S", 0.3)
    monkeypatch.setattr("swarm.peers.dht.node.LOOK_ROUND_EVERY_S", 0.1)

    async def scenario():
        identity, returned = Identity(), asyncio.Event()
        first = await Directory.join(on_return=returned.set)
        daemon, before = await daemon_of(first), await first.addresses()
        daemon.suspend()
        await asyncio.wait_for(returned.wait(), LIMIT_S)
        assert await first.addresses() == before and await daemon_of(first) != daemon
        assert (await first.publish(make_record(identity), identity)).stored
        await first.leave()

    asyncio.run(scenario())


def test_the_end_of_a_daemon_closes_nobody_elses_files(tmp_path):
    """What is closed twice may have become another thread's in between: a database, say."""
    shim, source = tmp_path / "closed_twice.so", Path(__file__).parents[2] / "support" / "closed_twice.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    code = """
import asyncio, gc, uvloop
from swarm.peers.directory import Directory
async def run():
    first = await Directory.join()
    second = await Directory.join(await first.addresses())
    await second.leave()
    await first.leave()
uvloop.run(run())  # as servers and clients do
gc.collect()
print("done")
"""
    environment = {**os.environ, "LD_PRELOAD": str(shim)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert result.stdout == "done\n" and "closed what is not open" not in result.stderr


def test_a_daemon_whose_socket_was_removed_is_replaced(monkeypatch):
    """As by whoever empties /tmp: nothing goes through it any more, and it lives."""
    monkeypatch.setattr("swarm.peers.dht.node.LOOK_ROUND_EVERY_S", 0.1)

    async def scenario():
        returned = asyncio.Event()
        first = await Directory.join(on_return=returned.set)
        before = await first.addresses()
        Path(first._node._running.daemon.control["unix"]).unlink()
        await asyncio.wait_for(returned.wait(), LIMIT_S)
        assert await first.addresses() == before
        second = await Directory.join(before, client=True)
        await second.leave()
        await first.leave()

    asyncio.run(scenario())


def test_what_is_published_is_not_refused_after_another_server_was_started_again(tmp_path):
    async def scenario():
        identity, key = Identity(), tmp_path / "key"
        first = await Directory.join()
        for _ in range(3):
            again = await Directory.join(await first.addresses(), identity_path=key)
            assert (await first.publish(make_record(identity), identity)).stored
            await again.leave()
        assert (await first.publish(make_record(identity), identity)).stored
        await first.leave()

    asyncio.run(scenario())


def test_nodes_that_dropped_each_other_find_each_other_again_and_say_what_they_publish_anew():
    async def scenario():
        identity, returned = Identity(), asyncio.Event()
        first = await Directory.join()
        second = await Directory.join(await first.addresses(), on_return=returned.set)
        daemon = await daemon_of(first)
        daemon.send_signal(signal.SIGSTOP)  # nobody answers there, and no connection breaks
        for number in range(3):  # of which hivemind drops it
            await second.peers(f"model {number}")
        daemon.send_signal(signal.SIGCONT)
        await asyncio.wait_for(returned.wait(), LIMIT_S)
        await first.publish(make_record(identity), identity)
        await until(lambda: sees(second, 1))
        await second.leave()
        await first.leave()

    asyncio.run(scenario())


def test_the_first_peer_may_come_back_elsewhere_and_the_others_without_it(tmp_path):
    """All are gone at once; then one that was told of the first alone starts, and the first at another port."""

    async def scenario():
        first_key, second_key = tmp_path / "first", tmp_path / "second"
        Identity.load_or_create(first_key), Identity.load_or_create(second_key)
        first_file, second_file = tmp_path / "first.json", tmp_path / "second.json"
        first = await Directory.join(identity_path=first_key, memory=first_file)
        told, (address, *_) = await first.addresses(), await first.addresses()
        second = await Directory.join(told, identity_path=second_key, memory=second_file)
        port = int((await second.addresses())[0].split("/")[4])
        await until(lambda: knows(first_file, second_key))
        await first.leave()
        await second.leave()

        second = await Directory.join(told, identity_path=second_key, memory=second_file, port=port)
        assert second.is_alone
        first = await Directory.join(identity_path=first_key, memory=first_file)
        assert not first.is_alone
        assert address not in await first.addresses()
        identity = Identity()
        await first.publish(make_record(identity), identity)
        await until(lambda: sees(second, 1))
        await first.leave()
        await second.leave()

    async def knows(file, key) -> bool:
        return file.exists() and Identity.load_or_create(key).peer_id in file.read_text()

    asyncio.run(scenario())


def test_who_comes_back_to_nobody_is_warned_of_it_if_it_was_told_of_peers(tmp_path, caplog):
    """The address may be wrong, and it serves all alone. Else it is what a swarm's first peer does after an outage."""

    async def scenario():
        options = {"identity_path": tmp_path / "key", "memory": tmp_path / "met.json"}
        first = await Directory.join()
        told = await first.addresses()
        second = await Directory.join(told, **options)
        await asyncio.gather(second.leave(), first.leave())
        wrong = told[0].replace("127.0.0.1", "127.0.0.9")
        for peers in ([wrong], []):
            second = await Directory.join(peers, **options)
            assert second.is_alone
            await second.leave()
        return wrong

    with caplog.at_level(logging.INFO, logger="swarm"):
        wrong = asyncio.run(scenario())
    named, unnamed = [record for record in caplog.records if "known from before" in record.message]
    assert (named.levelno, unnamed.levelno) == (logging.WARNING, logging.INFO)
    assert named.message == (
        f"none of the 1 peers known from before answers yet, also not at {wrong}; they are called again"
    )


def test_no_daemon_outlives_its_process_however_that_ends():
    code = """
import asyncio
from swarm.peers.directory import Directory
async def run():
    await Directory.join()
    print("here", flush=True)
    await asyncio.sleep(600)
asyncio.run(run())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        below = psutil.Process(process.pid).children(recursive=True)
        assert any(one.name() == "p2pd" for one in below)
        process.kill()
    _, alive = psutil.wait_procs(below, LIMIT_S)
    assert not alive


def test_leaving_waits_for_no_daemon_that_is_dead_or_stopped():
    async def scenario():
        for number in (signal.SIGKILL, signal.SIGSTOP):
            async with TwoNodes() as (first, _):
                (await daemon_of(first)).send_signal(number)
                async with asyncio.timeout(LIMIT_S / 2):
                    await first.leave()

    asyncio.run(scenario())


def test_what_strangers_answer_or_a_loop_that_fails_does_not_end_the_healing(monkeypatch):
    async def scenario():
        returned, rounds = asyncio.Event(), 0
        first = await Directory.join()
        second = await Directory.join(await first.addresses(), on_return=returned.set)
        nonsense = AssertionError("of hivemind, about what a stranger has sent")

        async def no_ping(*arguments: object, **options: object) -> None:
            nonlocal rounds
            rounds += 1
            raise nonsense

        async def no_round(*arguments: object, **options: object) -> None:
            nonlocal rounds
            rounds += 1
            raise nonsense

        node = second._node
        running = node._running
        monkeypatch.setattr(running.dht.protocol, "call_ping", no_ping)
        (address,) = await first.addresses()
        place, peer_id = address.split("/p2p/")
        assert not await running.call(peer_id, [place], 5.0)
        monkeypatch.setattr(running.p2p, "list_peers", no_round)
        before = rounds
        async with asyncio.timeout(LIMIT_S):
            while rounds < before + 2:
                await asyncio.sleep(0.1)
        (await daemon_of(second)).kill()
        await asyncio.wait_for(returned.wait(), LIMIT_S)
        await second.leave()
        await first.leave()

    asyncio.run(scenario())
