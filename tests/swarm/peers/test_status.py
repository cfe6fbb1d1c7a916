"""`python -m swarm status` on a real swarm."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

import swarm
from swarm.cli import status
from swarm.cli.support.exits import LATER, WRONG
from swarm.wire.peer_names import short_id

# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    with swarm.LocalSwarm("demo", ["0:10", "5:20"], threads=1, kv_memory="64M") as running:
        yield running


def test_printed_once_it_shows_coverage_peers_and_the_gap(local, capsys):
    assert status.main(["--once", "--peers", *local.peers]) == 0
    output = capsys.readouterr().out
    assert "2 peers  20 of 30 blocks served" in output
    assert all(short_id(server.peer_id) in output for server in local.servers)
    assert f"python -m swarm.server --blocks 20:30 --peers {local.peers[0]}" in output
    assert "\x1b" not in output


def test_json_has_the_gap_and_what_each_peer_answered(local, capsys):
    assert status.main(["--json", "--peers", *local.peers]) == 0
    view = json.loads(capsys.readouterr().out)
    assert [gap["blocks"] for gap in view["gaps"]] == [[20, 30]]
    assert view["replicas"] == [1] * 5 + [2] * 5 + [1] * 10 + [0] * 10
    assert [peer["peer_id"] for peer in view["peers"]] == [server.peer_id for server in local.servers]
    assert all(peer["state"] == "online" and peer["round_trip_s"] > 0 for peer in view["peers"])


def test_a_model_that_nobody_serves_is_an_error_with_the_command_to_serve_it_and_what_is_served_instead(local, capsys):
    assert status.main(["--model", "owner/new", "--peers", *local.peers]) != 0
    said = capsys.readouterr()
    assert "Nobody in this swarm serves owner/new" in said.out
    assert "python -m swarm.server --model owner/new --peers" in said.out
    assert said.err == "error: nobody in this swarm serves 'owner/new'; it serves demo\n"


def test_without_a_model_it_shows_what_the_swarm_serves(local, capsys):
    assert status.main(["--json", "--peers", *local.peers]) == 0
    view = json.loads(capsys.readouterr().out)
    assert (view["model"], view["models"]) == ("demo", ["demo"])


def test_in_a_terminal_it_goes_on_until_ctrl_c_and_ends_without_complaint(local):
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "swarm", "status", "--interval", "0.1", "--peers", *local.peers]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        try:
            output = b""
            while output.count(b"blocks served") < 3:
                output += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # the terminal has no writer any more
                while data := os.read(ours, 65536):
                    output += data
            assert process.wait(30) == 0, output.decode()
        finally:
            process.kill()
    os.close(ours)
    assert b"Traceback" not in output


ERRORS = {
    "": (LATER, "start one with `python -m swarm.server`"),
    "--peers localhost:80": (WRONG, "not a peer address"),
    "--interval 0": (WRONG, "--interval must be positive"),
}


@pytest.mark.parametrize("arguments", ERRORS)
def test_what_cannot_be_shown_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    expected, message = ERRORS[arguments]
    assert status.main(arguments.split()) == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
