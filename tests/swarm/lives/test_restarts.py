"""Servers that are started again, here or, by mistake, also elsewhere."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

import swarm
import warm
from harness.tiny import tiny_model
from helpers import listed, wait_until
from swarm.client.background import wait
from swarm.errors import SwarmError
from swarm.peers.directory import Directory

OPTIONS = {"threads": 1, "kv_memory": "16M"}


@pytest.fixture(scope="module")
def local() -> swarm.LocalSwarm:
    with swarm.LocalSwarm("demo", ["0:1", "1:2"], **OPTIONS) as local:
        yield local


@pytest.fixture(scope="module")
def tiny() -> Iterator[str]:
    with tiny_model() as folder:
        yield folder


def test_a_killed_server_is_where_it_was_with_nothing_said_on_its_command_line(local):
    before = local.servers[0]
    before.kill()
    again = local.restart(before)
    assert (again.peer_id, again.port, again.addresses) == (before.peer_id, before.port, before.addresses)


def test_a_key_that_was_copied_to_a_second_machine_serves_on_one_and_both_say_so(local, tmp_path):
    first = local.servers[1]
    copied = shutil.copytree(first.home, tmp_path / "second machine")
    with swarm.Client("demo", local.peers) as client:
        with pytest.raises(SwarmError, match=rf"key is in use at 127\.0\.0\.1:{first.port} already"):
            local._adopt([local._launch("1:2", {}, copied)])
        assert "this server's key is used by another process, too" in first.log()
        (one,) = (peer for peer in listed(client) if peer.peer_id == first.peer_id)
        assert one.endpoint.port == first.port  # it is still found, and still where it was
        first.kill()  # its record is there for a while yet
        moved = local._adopt([local._launch("1:2", {}, copied)])[0]
        assert moved.peer_id == first.peer_id
        assert wait_until(lambda: any(peer.endpoint.port == moved.port for peer in listed(client)), 20)


def test_a_server_goes_on_in_the_swarm_where_it_was_unless_it_has_another_key(local, tmp_path):
    """Nothing on its command line, and nothing on its machine, says where that is."""
    with running_server(tmp_path, "--peers", *local.peers) as (peer_id, _):
        assert wait_until(lambda: list((tmp_path / "acquaintances").glob("*.json")), 30)
    with running_server(tmp_path) as (again, addresses):
        assert again == peer_id
        assert wait_until(lambda: peer_id in seen_from(addresses) & seen_from(local.peers), 30)
        assert {server.peer_id for server in local.servers if server.alive} <= seen_from(addresses)
    with running_server(tmp_path, "--identity", str(tmp_path / "another.key")) as (other, addresses):
        assert seen_from(addresses) == {other}


@contextmanager
def running_server(home, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Its peer id and the addresses through which others join, while it runs."""
    command = [sys.executable, "-m", "swarm.server", "--blocks", "0:1", "--json", "--kv-memory", "16M", *arguments]
    environment = {**os.environ, "SWARM_HOME": str(home)}
    process = warm.start(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        ready = next(event for line in process.stdout if (event := json.loads(line))["event"] in ("ready", "error"))
        yield ready["peer_id"], ready["addresses"]
    finally:
        process.terminate()
        process.wait(60)


def seen_from(addresses: Sequence[str]) -> set[str]:
    """Who serves, as a newcomer finds it."""

    async def look() -> set[str]:
        directory = await Directory.join(addresses, client=True)
        try:
            return {info.peer_id for info in await directory.peers("demo")}
        finally:
            await directory.leave()

    return wait(look())


def serve(home, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "swarm.server", "--blocks", "0:1", *arguments]
    return warm.run(command, timeout=60, env={**os.environ, "SWARM_HOME": str(home)})


REFUSED = {
    "--host nowhere.invalid": "cannot listen at nowhere.invalid",
    "--announce nowhere.invalid": "cannot announce nowhere.invalid",
    "--announce 0.0.0.0": "no single machine's address",
    "--announce 239.1.2.3": "no single machine's address",
    "--model caf\udce9": "is not UTF-8",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_addresses_that_are_nobodys_and_bytes_that_are_no_text_are_refused_in_one_line(tmp_path, arguments):
    refused = serve(tmp_path, *arguments.split())
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert REFUSED[arguments] in line


def test_a_server_without_a_place_for_its_key_says_so_in_one_line(tmp_path):
    (tmp_path / "home").write_text("")
    refused = serve(tmp_path / "home")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert f"{tmp_path / 'home'} cannot be used" in line


def test_a_client_without_a_home_generates_and_says_once_what_it_forgets(local, tmp_path, monkeypatch, caplog):
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    with RestOfTheModel(local), swarm.Client("demo", local.peers) as client:
        generation = client.generate("x", max_new_tokens=2)
        assert len(generation.token_ids) == 2 and generation.receipts
        assert client.receipts is not None and wait_until(lambda: bool(client.receipts.sessions()), 10)
    assert sum(str(tmp_path / "home") in message for message in caplog.messages) == 1


def test_a_client_that_cannot_begin_leaves_nothing_running(local, tmp_path, monkeypatch):
    async def tasks() -> int:
        return len(asyncio.all_tasks())

    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts" / "client.db").write_bytes(b"junk" * 1_000)
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    before = wait(tasks())
    with pytest.raises(SwarmError, match="it is damaged"):
        swarm.Client("demo", local.peers)
    assert wait_until(lambda: wait(tasks()) == before, 10)


class RestOfTheModel:
    """A server of it, for as long as it is needed."""

    def __init__(self, local: swarm.LocalSwarm):
        self._local = local

    def __enter__(self) -> None:
        self._server = self._local.start("2:30")

    def __exit__(self, *exception: object) -> None:
        self._server.kill()
        self._local.servers.remove(self._server)


def test_a_server_listens_at_a_name_and_warns_of_an_address_where_it_does_not_answer(local):
    """As behind a router that does not lead back inside: others may well reach it there."""
    server = local.start("0:1", host="localhost", announce="127.0.0.1:9")
    assert server.addresses[0].startswith("/ip4/127.0.0.1/")
    assert "told to find this server at 127.0.0.1:9, where it does not answer from here" in server.log()


def test_a_server_that_lives_is_stopped_before_it_starts_again_with_its_key_and_its_own_options(tiny):
    with swarm.LocalSwarm(tiny, ["0:1", "1:3"], **OPTIONS) as local:
        old = local.start("0:3", max_sessions=2)
        again = local.restart(old)
        assert not old.alive
        assert (again.peer_id, again.blocks, again.alive) == (old.peer_id, (0, 3), True)
        assert local.servers[2] is again
        assert "--max-sessions" in again._process.args
        with pytest.raises(swarm.InvalidRequest, match="is no server of this swarm"):
            local.restart(old)


def test_no_process_outlives_the_swarm_not_even_one_that_it_lists_no_longer(tiny):
    local = swarm.LocalSwarm(tiny, ["0:1", "1:3"], **OPTIONS).start()
    forgotten = local.servers.pop()
    local.stop()
    assert not forgotten.alive


def test_a_server_that_starts_while_another_thread_stops_the_swarm_is_ended(tiny):
    local = swarm.LocalSwarm(tiny, [], **OPTIONS).start()
    started, start = [], local.start_process

    def late(command: list[str], **options: object) -> subprocess.Popen[str]:
        started.append(start(command, **options))
        local.stop()
        return started[0]

    local.start_process = late
    with pytest.raises(swarm.SwarmError, match="was stopped while a server of it started"):
        local.start("0:3")
    assert started[0].poll() is not None


def test_what_a_server_wrote_can_be_read_after_its_swarm_was_stopped(tiny):
    with swarm.LocalSwarm(tiny, ["0:1", "1:3"], **OPTIONS, verbose=True) as local:
        replaced, other = local.servers
        wrote = other.log()
        again = local.restart(replaced)
        assert replaced.log()
        assert again.log().startswith(replaced.log())
    assert wrote
    assert other.log().startswith(wrote)
    assert again.log().startswith(replaced.log())


def test_a_log_that_went_with_its_folder_is_told_in_one_line(tiny):
    with swarm.LocalSwarm(tiny, ["0:1", "1:3"], **OPTIONS) as local:
        server = local.servers[0]
        (server.home / "stderr").unlink()
        with pytest.raises(swarm.SwarmError, match="this server's log went with its swarm's folder"):
            server.log()
