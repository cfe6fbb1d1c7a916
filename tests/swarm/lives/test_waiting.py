"""Work that begins while somebody is missing, or silent: it waits for them, and says what for."""

import asyncio
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

import swarm
import warm
from helpers import wait_until
from swarm.cli import status
from swarm.cli.support.exits import LATER
from swarm.client.joining import find_members
from swarm.errors import PeerUnreachable
from swarm.peers.directory import Directory
from swarm.wire.identity import Identity

PROMPT = "The capital of France is"


class Waiting:
    """A verb of the command line that has said what it waits for."""

    def __init__(self, *arguments: str):
        self._process = warm.start(
            [sys.executable, "-m", "swarm", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.said = ""
        for line in self._process.stderr:
            self.said += line
            if "waiting for blocks" in line:
                return
        raise AssertionError(self.said)

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it has printed."""
        output, errors = self._process.communicate(timeout=120)
        self.said += errors
        return self._process.returncode, output


# --- nobody is there -------------------------------------------------------------------------------------------------


def test_a_client_waits_for_the_peer_that_it_was_told_of_and_says_so_once(tmp_path, caplog):
    """It may be about to start."""

    async def scenario() -> list[str]:
        Identity.load_or_create(tmp_path / "key")
        node = {"identity_path": tmp_path / "key", "port": free_port()}
        first = await Directory.join(**node)
        addresses = await first.addresses()
        await first.leave()
        with pytest.raises(PeerUnreachable, match="no peer answers at"):
            await find_members(lambda: addresses, None, 0.0)
        joining = asyncio.create_task(find_members(lambda: addresses, None, 60.0))
        while not caplog.records:
            await asyncio.sleep(0.1)
        again = await Directory.join(**node)
        await (await joining).leave()
        await again.leave()
        return addresses

    with caplog.at_level(logging.WARNING, "swarm.session.coverage"):
        (address, *_) = asyncio.run(scenario())
    (line,) = [record.message for record in caplog.records if record.name == "swarm.session.coverage"]
    assert line.startswith(f"waiting, since no peer answers at {address}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- some are missing ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    with swarm.LocalSwarm("demo", ["0:20"], quant="int4", threads=1, kv_memory="64M") as running:
        yield running


def make_whole(local: swarm.LocalSwarm) -> None:
    if len(local.servers) == 1:
        local.start("20:30")


def test_every_verb_waits_for_missing_blocks_says_so_and_goes_on_when_they_come(local, tmp_path):
    (tmp_path / "prompts").write_text(json.dumps("Once upon a time") + "\n")
    few = ("--max-new-tokens", "4", "--audit", "off", "--peers", *local.peers)
    verbs = [
        Waiting("generate", PROMPT, *few),
        Waiting("batch", str(tmp_path / "prompts"), "-o", str(tmp_path / "answers"), *few),
        Waiting("status", "--wait", "60", "--peers", *local.peers),
    ]
    assert status.main(["--wait", "0", "--peers", *local.peers]) == LATER  # not covered, and no time to wait
    local.start("20:30")
    (generated, text), (batched, _), (looked, picture) = [verb.end() for verb in verbs]
    assert (generated, batched, looked) == (0, 0, 0), [verb.said for verb in verbs]
    assert "Paris" in text and "30 of 30 blocks served" in picture
    assert len((tmp_path / "answers").read_text().splitlines()) == 1
    for verb in verbs:
        assert verb.said.count("waiting for blocks 20:30; nobody serves them (") == 1


# --- nobody new gets in ----------------------------------------------------------------------------------------------


def test_a_server_without_file_handles_says_so_once_and_clients_hear_that_it_does_not_answer(local):
    make_whole(local)
    server = local.servers[0]
    before, limits = server.log(), resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert limits[0] == limits[1]  # as many as it may have
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{server.pid}/fd")) + 3, limits[1]))
    strangers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]

    def said() -> list[str]:
        return server.log().removeprefix(before).splitlines()

    try:
        assert wait_until(lambda: any("file handles are used up" in line for line in said()), 30)
        hasty = {"audit": "off", "coverage_timeout_s": 0.0, "open_timeout_s": 3.0}
        known = pytest.raises(swarm.NoRoute, match=f"0:20 are served by one peer only.*{server.peer_id[-8:]}, last")
        with swarm.Client("demo", local.peers, **hasty) as client, known:
            client.generate(PROMPT, max_new_tokens=2)
        time.sleep(2.0)  # to be able to say it again
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        for stranger in strangers:
            stranger.close()
    assert wait_until(lambda: any("there are file handles again" in line for line in said()), 30), said()
    assert sum("file handles" in line for line in said()) == 2, said()
    assert "File descriptor limit reached" not in server.log()  # gRPC's own words, once a second


# --- somebody is silent ----------------------------------------------------------------------------------------------


def stop(servers: Sequence[swarm.client.local_swarm.LocalServer], number: int) -> None:
    for server in servers:
        os.kill(server.pid, number)


def test_of_a_hop_that_is_suspended_it_is_said_that_it_is_there_and_does_not_answer(local, capsys):
    make_whole(local)
    hung = local.servers[0]
    options = {"max_new_tokens": 24, "ignore_eos": True}
    with (
        swarm.Client("demo", local.peers, audit="off") as client,
        swarm.Client("demo", local.peers, audit="off", coverage_timeout_s=3.0) as hasty,
    ):
        expected = client.generate(PROMPT, **options).token_ids
        patient, other = client.stream(PROMPT, **options), hasty.stream(PROMPT, **options)
        next(patient), next(other)
        stop([hung], signal.SIGSTOP)
        try:
            name = hung.peer_id[-8:]
            with pytest.raises(swarm.NoRoute, match=f"0:20 are served by one peer only.*{name}, last heard .* s ago"):
                list(other)
            assert other.generation.status == ""
            began = time.monotonic()
            assert status.main(["--once", "--peers", *local.peers]) == 0
            assert time.monotonic() - began < 60
            assert "does not answer" in capsys.readouterr().out
        finally:
            stop([hung], signal.SIGCONT)
        list(patient)  # which has waited for it
        assert (patient.generation.token_ids, patient.generation.status) == (expected, "")
