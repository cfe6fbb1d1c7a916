"""Two machines: what the first one prints works when it is pasted on the second."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from networks import Machine, two_machines

SMALL = ("--kv-memory", "64M", "--threads", "1")


@contextmanager
def running(machine: Machine, words: list[str]) -> Iterator[str]:
    """A server, until it is ready: what it has printed."""
    process = subprocess.Popen(
        machine.command(words), env=machine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = ""
    try:
        for line in process.stdout:
            output += line
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError(output)
        yield output
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=20)
        process.kill()


def printed(output: str, begins: str) -> str:
    """The command in what was printed."""
    (line,) = [line.strip() for line in output.splitlines() if line.strip().startswith(f"python -m {begins}")]
    return line


def pasted(line: str) -> list[str]:
    """A printed line in a shell, with this Python as `python`."""
    return ["sh", "-c", f'python() {{ exec {sys.executable} "$@"; }}; {line}']


@pytest.fixture
def machines(tmp_path) -> Iterator[tuple[Machine, Machine]]:
    with two_machines(tmp_path) as both:
        yield both


def test_the_join_command_works_when_it_is_pasted_on_another_machine(machines):
    first, second = machines
    serve = [sys.executable, "-m", "swarm.server", "--blocks", "0:20", "--quant", "int4", "--host", "0.0.0.0", *SMALL]
    with running(first, serve) as said:
        join = printed(said, "swarm.server")
        assert "--blocks 20:30 --quant int4 --host 0.0.0.0" in join and first.address in join
        with running(second, pasted(f"{join} {' '.join(SMALL)}")) as said:
            assert f"at {second.address}:" in said  # by the way to the first: this machine knows no other
            assert "--blocks" not in printed(said, "swarm.server")  # all are served
            for machine in machines:
                answer = machine.run(pasted(f"{printed(said, 'swarm generate')} --max-new-tokens 4 --json"))
                assert answer.returncode == 0, answer.stderr
                hops = {hop["address"].split(":")[0] for hop in json.loads(answer.stdout)["route"]}
                assert hops == {first.address, second.address}
            seen = second.run([sys.executable, "-m", "swarm", "status", "--once", "--json"])
            assert json.loads(seen.stdout)["complete"], seen.stderr


def test_a_server_that_others_could_not_find_is_told_so_before_it_begins(machines):
    first, second = machines
    serve = [sys.executable, "-m", "swarm.server", "--blocks", "0:1", "--host", "0.0.0.0", *SMALL]
    with running(first, serve) as said:
        join = printed(said, "swarm.server")
        told = refusal(second, pasted(join.replace("--host 0.0.0.0", "")))
        assert told == (
            f"error: the swarm at {first.address} would be told to find this server at 127.0.0.1, which is each "
            "machine's own address; listen on 0.0.0.0 (--host 0.0.0.0), or say where it is reached (--announce ADDRESS)"
        )
        with running(second, pasted(f"{join} {' '.join(SMALL)}")):
            pass
        assert refusal(second, [sys.executable, "-m", "swarm.server", "--blocks", "20:30", *SMALL]) == told


def refusal(machine: Machine, words: list[str]) -> str:
    refused = machine.run(words)
    assert refused.returncode != 0
    return refused.stderr.strip()
