"""Swarms in which one machine's clock is off."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import swarm
from harness.shifted_clock import ShiftedClock
from harness.tiny import tiny_model
from swarm.home import client_identity
from swarm.market.ledger.audit import audit
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import address_of

WHO = ("client", "hop", "ledger")
SECONDS = (2.0, 5.0, 60.0, 600.0, 86_400.0)
JUMP_S = 300.0
TOKENS, JUMP_TOKENS, JUMP_PACE_S = 64, 240, 0.2  # the latter for longer than records live
OPTIONS = {"threads": 1, "price": 1000, "settle_every": 0.5}
SETTLED_S = 15.0
_NO_JUMP_S = 1e-9  # as a jump, but for the jump
CLIENT = """
import json, sys, time, swarm
model, peers, ledger, tokens, pace_s = json.loads(sys.argv[1])
try:
    with swarm.Client(model, peers, ledger=ledger, audit="local", audit_rate=0.5, allow_unstaked=True) as client:
        outs = []
        for count, wait_s in ((tokens, pace_s), (16, 0.0)):
            stream = client.stream("The capital of France is", max_new_tokens=count, ignore_eos=True, verify="audit")
            for piece in stream:
                print("token", flush=True)
                time.sleep(wait_s)
            outs.append(stream.generation)
        client.wait_for_audits()
    print(json.dumps({
        "text": outs[0].token_ids + outs[1].token_ids,
        "receipts": sum(len(out.receipts) for out in outs),
        "faults": [str(fault) for out in outs for fault in out.faults],
        "audits": [one.verdict.name if one.judgement else "none" for out in outs for one in out.audits],
        "cost": sum(out.cost for out in outs),
    }))
except swarm.SwarmError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


class _Swarm(swarm.LocalSwarm):
    """Whose servers start with the machine's clock that `clock` says."""

    clock: ShiftedClock | None = None

    def start_process(self, command: list[str], env: dict[str, str], **options: object) -> subprocess.Popen:
        return subprocess.Popen(command, env=env | _preload(self.clock), **options)


def _preload(clock: ShiftedClock | None) -> dict[str, str]:
    return clock.environment if clock else {}


@contextmanager
def _ledger(folder: Path, clock: ShiftedClock | None) -> Iterator[str]:
    """Its address."""
    command = [
        sys.executable,
        "-m",
        "swarm",
        "ledger",
        "serve",
        "--json",
        "--exit-with-parent",
        "--folder",
        str(folder),
    ]
    pipe, environment = subprocess.PIPE, _environment(clock)
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        yield json.loads(process.stdout.readline())["where"]
    finally:
        process.stdin.close()
        process.wait(30)


def _environment(clock: ShiftedClock | None) -> dict[str, str]:
    return {**os.environ, **_preload(clock)}


def trial(model: str, who: str, clock: ShiftedClock, jump_s: float) -> dict[str, object]:
    """One swarm, in which the clock of `who` is off. jump_s: it is set by so much while a session goes on."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _ledger(Path(folder), clock if who == "ledger" else None) as where,
        _Swarm(model, ["0:1"], ledger=where, **OPTIONS) as local,
    ):
        book = open_ledger(where, client_identity())
        book.mint(client_identity().address, 10 * CREDIT)
        local.clock = clock if who == "hop" else None
        try:
            local.start("1:2")
        except swarm.SwarmError as error:
            return {"error": str(error), "lines": len(str(error).splitlines())}
        local.clock = None
        local.start("2:3")
        said = _generate([model, local.peers, where], clock if who == "client" else None, clock, jump_s)
        if "cost" in said:
            deadline = time.monotonic() + SETTLED_S
            paid = [address_of(server.peer_id) for server in local.servers]
            while (settled := sum(book.account(one).available for one in paid)) < said["cost"]:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            said |= {"settled": settled == said["cost"], "book holds": audit(book).holds}
        book.shut()
        logs = [(server.home / "stderr").read_text() for server in local.servers]
    lines = [line for text in [*logs, said.pop("stderr")] for line in text.splitlines()]
    told = list(dict.fromkeys(line for line in lines if "clock" in line or "time" in line))
    return said | {"told": told}


def _generate(
    arguments: list[object], own: ShiftedClock | None, clock: ShiftedClock, jump_s: float
) -> dict[str, object]:
    """What the client's process says in the end."""
    tokens, pace_s = (JUMP_TOKENS, JUMP_PACE_S) if jump_s else (TOKENS, 0.0)
    command = [sys.executable, "-c", CLIENT, json.dumps([*arguments, tokens, pace_s])]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=_environment(own))
    said, count = "", 0
    for line in process.stdout:
        said, count = line, count + 1
        if jump_s and count == JUMP_TOKENS // 12:
            clock.set(jump_s)
    stderr = process.stderr.read()
    process.wait()
    with suppress(ValueError):
        return json.loads(said) | {"stderr": stderr}
    return {"error": stderr[-2000:], "lines": len(stderr.splitlines()), "stderr": stderr}


def row(who: str, off: str, found: dict[str, object], text: list[int]) -> dict[str, object]:
    """For the table."""
    if "error" in found:
        lines = len(str(found["error"]).splitlines())
        return {"who": who, "off": off, "works": "no", "what it says": f"{lines} lines: {str(found['error'])[-150:]}"}
    good = {
        "text": found["text"] == text,
        "receipts": found["receipts"] > 0 and not found["faults"],
        "audits": bool(found["audits"]) and set(found["audits"]) == {"PASS"},
        "settled": found["settled"],
        "book": found["book holds"],
    }
    works = "yes" if all(good.values()) else "not: " + ", ".join(name for name, holds in good.items() if not holds)
    return {"who": who, "off": off, "works": works, "what it says": "; ".join(found["told"])[:150]}


def _text(model: str, folder: Path, jump_s: float) -> list[int]:
    """That of a swarm all whose clocks are right."""
    found = trial(model, "nobody", ShiftedClock(folder), jump_s)
    if "error" in found:
        raise RuntimeError(found["error"])
    return found["text"]


def trials(who: list[str], seconds: list[float]) -> Iterator[dict[str, object]]:
    with tiny_model() as model, tempfile.TemporaryDirectory() as folder:
        text = {jump_s: _text(model, Path(folder), jump_s) for jump_s in (0.0, _NO_JUMP_S)}
        for one in who:
            for off_s in sorted([-each for each in seconds] + seconds, key=abs):
                found = trial(model, one, ShiftedClock(Path(folder), off_s), 0.0)
                yield row(one, f"{off_s:+.0f} s", found, text[0.0])
            for jump_s in (JUMP_S, -JUMP_S):
                found = trial(model, one, ShiftedClock(Path(folder)), jump_s)
                yield row(one, f"set by {jump_s:+.0f} s", found, text[_NO_JUMP_S])
