"""Other programs that run for long: the ledger's service, an auditor, a client's command, and who has a LocalSwarm."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from endings.processes import Program, TypedProgram, is_alive, living, wait_for

LIMIT_S = 5.0
START_S = 120.0
PARENT = """
import sys, time, swarm
with swarm.LocalSwarm(sys.argv[1], ["0:3", "0:3"], threads=1) as local:
    print("ready", flush=True)
    time.sleep(1000)
"""
LOADING_PARENT = """
import sys, swarm
print("ready", flush=True)
swarm.LocalSwarm(sys.argv[1], ["0:3", "0:3"]).__enter__()
"""


@dataclass(frozen=True)
class Other:
    name: str
    arguments: Callable[[str, list[str]], list[str]]  # by the model, and the addresses of a swarm
    begun: str  # what it says when it is at work; "": as soon as it is there
    told: dict[str, tuple[int, ...]]  # by what it is told: which exit statuses are right
    drain_s: float = 0.0


SERVICE = {"SIGTERM": (0,), "SIGHUP": (0,), "Ctrl-C": (0,)}
COMMAND = {"SIGTERM": (143,), "SIGHUP": (129,), "Ctrl-C": (130,)}
DEATHS = {"SIGTERM": (143,), "SIGHUP": (129,), "SIGKILL": (137,)}  # of a program with Python's own way with signals

OTHERS = (
    Other("ledger service", lambda model, peers: ["-m", "swarm", "ledger", "serve"], "Others reach it", SERVICE, 5.0),
    Other(
        "auditor",
        lambda model, peers: ["-m", "swarm.auditor", "--model", model, "--every", "0.5", "--peers", *peers],
        "PASS",
        SERVICE,
    ),
    Other(
        "generate",
        lambda model, peers: [
            "-m", "swarm", "generate", "--model", model, "--max-new-tokens", "1900", "--ignore-eos", "--peers", *peers,
            "--", "It is told that",
        ],
        "",
        COMMAND,
    ),
    Other("server that loads", lambda model, peers: ["-m", "swarm.server", "--model", model], "", COMMAND),
    Other("LocalSwarm's parent", lambda model, peers: ["-c", PARENT, model], "ready", DEATHS),
    Other("LocalSwarm's parent, loading", lambda model, peers: ["-c", LOADING_PARENT, model], "ready", DEATHS),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    gone_s: float | None  # the program, and all that it has started
    status: int | None
    is_right: bool  # that status


def end(other: Other, told: str, model: str, peers: list[str], folder: Path, numbers: "count[int]") -> Outcome:
    """Start one, tell it, and look."""
    kind = TypedProgram if told == "Ctrl-C" else Program
    program = kind(folder / f"other-{next(numbers)}", other.arguments(model, peers))
    try:
        if wait_for(lambda: bool(program.pid) and program.says(other.begun), START_S) is None:
            raise SystemExit(f"{other.name} did not start")
        if not other.begun or "loading" in other.name:
            time.sleep(1.5)  # into its imports, or beyond
        pid, started = program.pid, time.monotonic()
        if isinstance(program, TypedProgram):
            program.type("C-c")
        else:
            os.kill(pid, getattr(signal, told))
        limit_s = LIMIT_S + other.drain_s + 2.0
        wait_for(lambda: not is_alive(pid) and program.status is not None, limit_s)
        gone = wait_for(lambda: not living(program.home), limit_s)
        gone_s = None if gone is None else time.monotonic() - started
        return Outcome(gone_s, program.status, program.status in other.told[told])
    finally:
        program.clean_up()
