"""What a server and a client log of a session, and in which format."""

import json
import re
import subprocess
import sys

import pytest

import warm
from swarm.cli import stop


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    return tmp_path


def test_a_session_is_logged_at_both_ends_where_that_is_wanted_and_nothing_is_drawn_into_a_file(home):
    command = [sys.executable, "-m", "swarm.server", "--threads", "1", "--quant", "int4", "--verbose"]
    server = warm.start([*command, "--log-format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        told = ""
        while "Ctrl-C" not in told:
            told += server.stdout.readline()
        assert f"process {server.pid}\n" in told and "swarm stop" in told
        generate = [sys.executable, "-m", "swarm", "generate", "The capital of France is", "--max-new-tokens", "2"]
        plain, verbose = warm.run(generate, timeout=90), warm.run([*generate, "--verbose"], timeout=90)
        assert stop.main([]) == 0
        logged = server.communicate(timeout=30)[1]
    finally:
        server.kill()
    assert " INFO " not in plain.stderr
    client = [line.split(" ", 2) for line in verbose.stderr.splitlines() if " INFO " in line]
    assert [level for _, level, _ in client] == ["INFO", "INFO"]
    opened = re.fullmatch(r"session (\w+) opened, room for 7 tokens: \w{8} 0:30", client[0][2])
    assert opened, client
    assert "\x1b" not in logged and "\r" not in logged and "█" not in logged
    lines = {line["message"].split(" ")[0]: line for line in map(json.loads, logged.splitlines())}
    assert lines["taking"]["message"] == (
        "taking blocks 0:30: nobody serves anything yet, and 30 of 30 blocks fit here"
    )
    assert re.fullmatch(r"loading blocks 0:30 … done in \d+\.\d s", lines["loading"]["message"])
    closed = lines["session"]
    assert closed["session"].startswith(opened[1]) and closed["client"].startswith("127.0.0.1:")
    assert closed["message"].endswith("s and 6 tokens: its client has ended it") and closed["tokens"] == 6
