"""Which servers run here, and that nobody else is told to end."""

import json
import os
import subprocess
import sys

import pytest

from swarm.cli import stop
from swarm.cli.support import exits
from swarm.home.servers import RunningServer, running_servers

PROGRAM = """
import signal, sys, time
from swarm.home import announced
if sys.argv[2:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with announced([f"/ip4/127.0.0.1/tcp/9/p2p/{sys.argv[1]}"]):
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def servers(home):
    """Starts processes that are found like servers, by the ends of their peer ids."""
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout and process.stdout.readline() == "there\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def found() -> list[RunningServer]:
    servers = running_servers()
    for server in servers:
        server.close()
    return servers


def test_the_one_server_that_runs_here_is_told_to_end_and_waited_for(servers, capsys):
    process = servers("16Uiu2abc")
    assert [(server.peer_id, server.pid) for server in found()] == [("16Uiu2abc", process.pid)]
    assert stop.main([]) == 0
    assert process.wait(timeout=0) == -15
    assert capsys.readouterr().out.splitlines() == [
        f"told peer 16Uiu2abc (process {process.pid}) to leave", "1 server left the swarm",
    ]  # fmt: skip


def test_where_several_run_it_is_said_which_or_all(servers, capsys):
    first, second = servers("16Uiu2first"), servers("16Uiu2second")
    assert stop.main([]) == exits.WRONG
    assert "2 servers run here; name one, or say --all" in capsys.readouterr().err
    for unclear, status in (("third", exits.FAILED), ("", exits.WRONG)):
        assert stop.main([unclear]) == status
        assert capsys.readouterr().err.startswith(("error: no peer that is a server here", "error: '' names no peer"))
    assert stop.main(["second"]) == 0
    assert (first.poll(), second.poll()) == (None, -15)
    assert stop.main(["--all"]) == 0
    assert stop.main([]) == 1
    assert "no server of this user runs on this machine" in capsys.readouterr().err


def test_a_process_that_has_a_servers_number_by_now_is_not_told(home, servers):
    """Its entry may be held by a child that the server left behind."""
    held_by = servers("16Uiu2abc")
    (file,) = (home / "nodes").glob("*.json")
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        for pid in (bystander.pid, os.getpid(), 0, -1, 2**40, True, "1"):
            file.write_text(json.dumps({**json.loads(file.read_text()), "pid": pid}))
            assert found() == []
            assert stop.main(["--all"]) == 1
        assert bystander.poll() is None
        file.write_text(json.dumps({**json.loads(file.read_text()), "pid": held_by.pid}))
        assert len(found()) == 1
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_that_still_serves_is_named(servers, capsys):
    process = servers("16Uiu2abc", "takes its time")
    assert stop.main(["--wait", "0.2"]) == 1
    assert f"6Uiu2abc (process {process.pid}) still lets sessions finish after 0.2 s" in capsys.readouterr().err
    assert process.poll() is None
