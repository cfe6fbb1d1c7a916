"""Processes that are told to end: they do, whoever says it and whatever they are doing, and nothing of them is left."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import swarm
import warm
from endings.processes import MARK, is_alive, living
from harness.tiny import tiny_model
from helpers import listed, wait_until
from swarm.client.local_swarm import LocalSwarm


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with tiny_model() as folder:
        yield folder


@pytest.fixture(scope="module")
def local(model) -> Iterator[LocalSwarm]:
    """What stays, and takes sessions over."""
    with LocalSwarm(model, ["0:3"], threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def client(model, local) -> Iterator[swarm.Client]:
    with swarm.Client(model, local.peers) as client:
        yield client


class Server:
    """`python -m swarm.server`, which has said that it is ready."""

    program = ("-m", "swarm.server")

    def __init__(self, model: str, home: Path, *arguments: str, **options: object):
        self.home = home
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = warm.start(
            [sys.executable, *self.program, "--model", model, "--blocks", "0:3", "--threads", "1", "--json",
             *arguments],
            env={**os.environ, "SWARM_HOME": str(home), MARK: str(home)}, **options,
        )  # fmt: skip
        events = map(json.loads, self.process.stdout)
        self.peer_id = next(event["peer_id"] for event in events if event["event"] == "ready")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self) -> tuple[int, str]:
        """Its status, and what it complained of."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def is_gone(self, client: swarm.Client) -> bool:
        """With all that it had started, and from the directory."""
        return wait_until(lambda: not living(self.home), 10) and wait_until(
            lambda: self.peer_id not in {peer.peer_id for peer in listed(client)}, 5
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_server_whose_whole_group_is_told_says_goodbye(model, local, client, tmp_path, number):
    """As a terminal does it. The directory's daemon is not of that group."""
    with Server(model, tmp_path, "--peers", *local.peers) as server:
        os.killpg(server.process.pid, number)
        assert server.ended() == (0, "")
        assert server.is_gone(client)
        assert not list((tmp_path / "nodes").iterdir())


def test_a_server_ends_though_its_daemon_is_dead(model, local, client, tmp_path):
    with Server(model, tmp_path, "--peers", *local.peers, "--record-life", "3") as server:
        for pid in living(tmp_path):
            if pid != server.process.pid:
                os.kill(pid, signal.SIGKILL)
        server.process.send_signal(signal.SIGTERM)
        assert server.ended()[0] == 0
        assert server.is_gone(client)


def test_a_closed_terminal_is_a_goodbye(model, local, client, tmp_path):
    """Nobody can read any more what it says of that."""
    ours, its = pty.openpty()
    with Server(model, tmp_path, "--peers", *local.peers, stdin=its, stderr=its) as server:
        os.close(its)
        os.close(ours)
        os.kill(server.process.pid, signal.SIGHUP)
        assert server.process.wait(60) == 0
        assert server.is_gone(client)
        server.process.stdout.close()


class SlowServer(Server):
    """Of a program of one's own: a session takes minutes."""

    program = ("-c", textwrap.dedent("""
        import sys, time
        from swarm.cli.server import main
        from swarm.server.config import Parts
        from swarm.server.scheduler.runner import Runner

        class Slow(Runner):
            def run(self, slices):
                time.sleep(0.2)
                return super().run(slices)

        sys.exit(main(sys.argv[1:], Parts(runner=Slow)))
    """))  # fmt: skip


def test_a_server_that_drains_leaves_at_once_when_it_is_told_again(model, tmp_path):
    """Its session has nowhere to go."""
    with SlowServer(model, tmp_path, "--drain", "600") as server:
        peers = re.findall(r"/ip4/127[^\"]+", next((tmp_path / "nodes").iterdir()).read_text())
        with swarm.Client(model, peers, coverage_timeout_s=0.5) as client:
            stream = client.stream("It is told that", max_new_tokens=1900, ignore_eos=True)
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: json.loads(server.process.stdout.readline())["event"] == "draining", 30)
            assert not wait_until(lambda: server.process.poll() is not None, 0.5)  # also that it is not the same signal
            server.process.send_signal(signal.SIGTERM)
            assert server.ended()[0] == 143
            stream.close()
        assert wait_until(lambda: not living(tmp_path), 10)


LOADING = """
    import os, signal, sys, swarm
    from pathlib import Path
    class Announced(swarm.LocalSwarm):
        def _adopt(self, launched):
            print(*(process.pid for process, *_ in launched), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    Announced(sys.argv[1], ["0:3"] * 2, threads=1).__enter__()
"""


def test_servers_that_still_load_end_with_their_parent(model):
    """They would go on for minutes, with a large model."""
    command = [sys.executable, "-c", textwrap.dedent(LOADING), model]
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    pids = [int(pid) for pid in result.stdout.split()]
    assert len(pids) == 2, result.stderr
    assert wait_until(lambda: not any(map(is_alive, pids)), 15)


@pytest.mark.parametrize("module", ["swarm.server", "swarm.auditor", "swarm calibrate"])
def test_ctrl_c_during_the_imports_is_no_traceback(module, tmp_path):
    environment = {**os.environ, "SWARM_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", *module.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    maps = Path(f"/proc/{process.pid}/maps")
    assert wait_until(lambda: "numpy" in maps.read_text() or "torch" in maps.read_text(), 60)
    process.send_signal(signal.SIGINT)
    assert (*process.communicate(timeout=60), process.returncode) == (b"", b"", 130)


def test_ctrl_c_while_a_client_joins_and_imports_is_no_traceback_and_leaves_no_daemon(tmp_path):
    environment = {**os.environ, "SWARM_HOME": str(tmp_path)}
    with swarm.LocalSwarm("demo", []) as nobody:  # but a node of the directory
        command = [sys.executable, "-m", "swarm", "generate", "x", "--peers", *nobody.peers]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        maps = Path(f"/proc/{process.pid}/maps")
        assert wait_until(lambda: "libtorch" in maps.read_text(), 60)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert (*process.communicate(timeout=60), process.returncode) == (b"", b"\n", 130)
        assert wait_until(lambda: not any(child.is_running() for child in children), 15)
