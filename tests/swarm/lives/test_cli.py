"""The command line, as a contributor uses it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import warm
from helpers import wait_until
from swarm.cli import receipts
from swarm.cli.support import exits, parsing
from swarm.errors import InvalidRequest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine of one's own: no swarm on it yet."""
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    return tmp_path


def run(*arguments: str, timeout_s: float = 90) -> subprocess.CompletedProcess:
    return warm.run([sys.executable, "-m", *arguments], timeout=timeout_s)


class ServerProcess:
    """`python -m swarm.server` until it is ready; stopped by Ctrl-C."""

    def __init__(self, *arguments: str):
        self._process = warm.start(
            [sys.executable, "-m", "swarm.server", "--threads", "1", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.output = ""

    def __enter__(self) -> "ServerProcess":
        for line in self._process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                return self
        raise AssertionError(self._process.stderr.read())

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self.interrupt()

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C; returns the exit status and what was printed after it."""
        self._process.send_signal(signal.SIGINT)
        output, errors = self._process.communicate(timeout=30)
        return self._process.returncode, output + errors


def test_two_servers_find_each_other_and_a_client_generates(home, capsys):
    with ServerProcess("--blocks", "0:20") as first:
        assert "Serving blocks 0:20 of 30" in first.output
        join = re.search(r"python -m (swarm\.server .*--blocks 20:30 --peers \S+)", first.output)
        assert join, first.output
        assert "Blocks 20:30 are not served by anyone yet" in first.output
        with ServerProcess("--blocks", "20:30") as second:  # told no address
            assert "All blocks are served" in second.output
            answer = run("swarm", "generate", "The capital of France is", "--max-new-tokens", "4")
            assert answer.returncode == 0, answer.stderr
            assert "Paris" in answer.stdout
            assert "tokens/s" in answer.stderr
            assert re.search(r"trust  \d receipts of 2 peers", answer.stderr)
            prove = ("--verify", "full", "--audit", "local", "--sensitive", "--json")
            as_json = run("swarm", "generate", "The capital of France is", "--max-new-tokens", "4", *prove)
            result = json.loads(as_json.stdout)
            assert "Paris" in result["text"]
            assert (result["verified"], result["faults"], result["receipts"]) == (4, [], 4)
            assert {(audit["by"], audit["verdict"]) for audit in result["audits"]} == {("local", "PASS")}
            check_receipts(home, capsys)
            check_figures(home)
            status, farewell = second.interrupt()
            assert status == 0
            assert "left the swarm" in farewell
            assert "Traceback" not in farewell
        refused = run("swarm", "generate", "x", "--wait", "0")
        assert refused.returncode == exits.LATER
        assert "no peer serves blocks 20:30" in refused.stderr
    assert not list((home / "nodes").glob("*.json"))


def check_figures(home):
    """Of how fast they are, with a report that is never written over."""
    few = ("--sessions", "2", "--contexts", "16", "--repeats", "1", "--max-new-tokens", "8")
    report = home / "speed.md"
    measured = run("swarm", "benchmark", *few, "--json", "--report", str(report))
    figures = json.loads(measured.stdout)
    assert [peer["blocks"] for peer in figures["peers"]] == [[0, 20], [20, 30]]
    assert figures["rows"][0]["total_tokens_per_s"] > 0
    assert (len(figures["rows"][0]["formats"]), figures["cut_short"]) == (1, "")
    assert "measured 1 time, so the spread is not known" in figures["rows"][0]["doubts"]
    assert "python -m swarm benchmark --sessions 2" in report.read_text()
    again = run("swarm", "benchmark", *few, "--report", str(report))
    assert (again.returncode, again.stdout) == (exits.FAILED, "")
    assert "is there already" in again.stderr


def check_receipts(home, capsys):
    """Of two sessions on two servers, which are kept on one machine: list, hand on, and check them."""

    def ask(*arguments: str) -> str:
        assert receipts.main(list(arguments)) == 0
        return capsys.readouterr().out

    mine = [json.loads(line) for line in ask("list", "--json").splitlines()]
    assert [[peer["blocks"] for peer in session["peers"]] for session in mine] == [[[0, 20], [20, 30]]] * 2
    theirs = [json.loads(line) for line in ask("list", "--server", "--json").splitlines()]
    servers = {session["server"] for session in theirs}
    assert servers == {peer["peer_id"] for peer in mine[0]["peers"]}
    assert mine[1]["session"] in ask("list")
    ask("export", "-o", str(home / "last"))
    exported = (home / "last").read_text().splitlines()
    assert {json.loads(line)["session"] for line in exported} == {mine[0]["session"]}
    checked = ask("verify", str(home / "last"))
    assert all(peer_id in checked for peer_id in servers)
    assert "All of it holds: 4 receipts of 2 peers, 2 links between hops." in checked.splitlines()
    (home / "first").write_text(ask("export", mine[1]["session"][:13], "-o", "-"))
    assert json.loads(ask("verify", str(home / "first"), "--json"))["holds"]
    ask("export", "--server", servers.pop()[-8:], "-o", str(home / "server"))
    assert "of 1 peer," in ask("verify", str(home / "server"))
    (home / "last").write_text("\n".join(exported[1:]))
    assert receipts.main(["verify", str(home / "last")]) == exits.REFUTED
    assert "It does not hold" in capsys.readouterr().out
    (home / "last").write_bytes(b"\x00" * 10_000)
    assert receipts.main(["verify", str(home / "last")]) == exits.FAILED
    assert "last, line 1: longer than" in capsys.readouterr().err


def taken_port() -> tuple[socket.socket, str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener, str(listener.getsockname()[1])


NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/16Uiu2HAm2GyVsTcR5M5h8KqkWQFQReyhpePEWW3Fy2nmt6EuqwQG"


BAD_ARGUMENTS = {
    "--blocks 25:40": "outside this model, which has 30 blocks",
    "--blocks 9:3": "did you mean 3:9",
    "--blocks 5:5": "no blocks",
    "--blocks all": "range like 0:20",
    "--model no/such/model": "no such model",
    "--model missing.gguf": "no such model",
    "--model /tmp": "config.json",
    f"--peers {NOBODY}": "no peer answers at",
    "--peers localhost:80": "not a peer address",
    "--port 99999": "not a port",
    "--announce 203.0.113.7:99999": "99999 is not a port",
    "--announce http://203.0.113.7": "write HOST, HOST:PORT or [IPV6]:PORT",
    "--kv-memory lots": "not a size",
    "--kv-memory 1k": "raise --kv-memory",
    "--threads 0": "--threads must be positive",
    "--price 1000": "for 1000 nano-credits, write 1000n",
    "--stake 1,5": "write credits, like 1.5",
}
OTHER_STATUS = {  # of what is only found wrong once something was opened, or asked
    "--blocks 25:40": exits.FAILED,
    "--kv-memory 1k": exits.FAILED,
    "--model no/such/model": exits.FAILED,
    "--model missing.gguf": exits.FAILED,
    "--model /tmp": exits.FAILED,
    f"--peers {NOBODY}": exits.LATER,
}


@pytest.fixture(scope="module")
def refusals() -> dict[str, subprocess.CompletedProcess]:
    """All of them, a few at a time: most of it is starting Python."""
    with ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda arguments: run("swarm.server", *arguments.split()), BAD_ARGUMENTS)
        return dict(zip(BAD_ARGUMENTS, results, strict=True))


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS)
def test_a_bad_argument_gets_one_line_that_says_what_to_do(refusals, arguments):
    result = refusals[arguments]
    assert result.returncode == OTHER_STATUS.get(arguments, exits.WRONG)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert BAD_ARGUMENTS[arguments] in lines[0]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("203.0.113.7", "203.0.113.7", None),
        ("peer.example.org:4000", "peer.example.org", 4000),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:4000", "2001:db8::1", 4000),
    ],
)
def test_an_announced_address_is_a_host_and_perhaps_a_port(text, host, port):
    assert parsing.address(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":4000", "a:b", "a:", "a:0", "a:-1", "[a]:4000", "[::1", "1::2::3", "a b", "a/b"])
def test_what_is_no_address_is_not_announced(text):
    with pytest.raises(InvalidRequest, match=re.escape(repr(text))):
        parsing.address(text)


@pytest.mark.parametrize("option", ["--port", "--dht-port"])
def test_a_taken_port_is_named(home, option):
    listener, port = taken_port()
    with listener:
        result = run("swarm.server", option, port, "--blocks", "0:1")
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "in use" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_client_without_a_swarm_is_told_how_to_start_one(home):
    result = run("swarm", "generate", "x")
    assert result.returncode == exits.LATER
    assert "start one with `python -m swarm.server`" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_verb_has_help(home):
    with ThreadPoolExecutor(3) as pool:
        names = ["server", "generate", "chat", "status", "secret", "demo", "identity", "calibrate"]
        names += ["auditor", "batch", "benchmark", "completion", "config", "earnings", "evidence"]
        names += ["ledger", "models", "receipts", "stop"]
        verbs = [[], *([name] for name in names)]
        for result in pool.map(lambda verb: run("swarm", *verb, "--help"), verbs):
            assert result.returncode == 0
            assert "usage:" in result.stdout
            assert len(result.stdout.splitlines()) < 66


def test_an_unknown_verb_is_named(home):
    result = run("swarm", "genrate", "x")
    assert result.returncode == 2
    assert "unknown verb 'genrate'" in result.stderr


def test_a_command_that_has_another_name_now_says_which(home):
    result = run("swarm.ledger", "--port", "4000")
    assert result.returncode == 1
    assert "`python -m swarm ledger serve` now" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_whoever_reads_no_further_gets_no_traceback():
    """As in `swarm generate ... | head -c 1`."""
    script = """
import sys, time
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import run
time.sleep(0.5)
sys.exit(run(Parser("secret"), [], lambda args: print("x", flush=True)))
"""
    pipeline = f"{sys.executable} -c '{script}' | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, timeout=90, check=False)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, "")


def test_no_process_outlives_a_local_swarm_nor_its_parent(home):
    """Also when the parent is killed before it can clean up."""
    script = """
import os, signal, swarm
local = swarm.LocalSwarm("demo", ["0:1"], threads=1).__enter__()
print(local.servers[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=False)
    pid = int(result.stdout)
    assert wait_until(lambda: not is_running(pid), timeout_s=10)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
