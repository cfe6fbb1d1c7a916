"""A swarm in which one machine's clock is off."""

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
SETTLED_S = 20.0
CLIENT = """
import json, sys, time, swarm
model, peers, ledger, tokens, pace_s = json.loads(sys.argv[1])
try:
    with swarm.Client(model, peers, ledger=ledger, audit="local", audit_rate=1.0, allow_unstaked=True) as client:
        outs = []
        for count, wait_s in ((tokens, pace_s), (16, 0.0)):
            stream = client.stream("The capital of France is", max_new_tokens=count, ignore_eos=True, verify="audit")
            for piece in stream:
                print("token", flush=True)
                time.sleep(wait_s)
            outs.append(stream.generation)
        client.wait_for_audits()
    print(json.dumps({
        "texts": [out.token_ids for out in outs],
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


class _Ledger:
    """The service, which starts again with another clock where it was."""

    def __init__(self, folder: Path):
        self._folder, self._port = folder, 0
        self._start(None)

    def _start(self, clock: ShiftedClock | None) -> None:
        command = [sys.executable, "-m", "swarm", "ledger", "serve", "--json", "--exit-with-parent"]
        command += ["--folder", str(self._folder), "--port", str(self._port)]
        pipe, environment = subprocess.PIPE, os.environ | _preload(clock)
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        ready = json.loads(self._process.stdout.readline())
        self.where, self._port = ready["where"], ready["port"]

    def restart(self, clock: ShiftedClock) -> None:
        self.stop()
        self._start(clock)

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)


def _preload(clock: ShiftedClock | None) -> dict[str, str]:
    return clock.environment if clock else {}


class Trials:
    """Of one swarm of three servers, one ledger, and a client for each trial."""

    def __init__(self, model: str, folder: Path, ledger: _Ledger, local: _Swarm):
        self._model, self._folder, self._ledger, self._local = model, folder, ledger, local
        self._book = open_ledger(ledger.where, client_identity())
        self._book.mint(client_identity().address, 100 * CREDIT)
        self._paid = {address_of(server.peer_id) for server in local.servers}
        self._text: list[int] = []

    def begin(self) -> None:
        """What a client gets while all clocks are right. Raises RuntimeError."""
        found = self._generate(None, None, JUMP_TOKENS, 0.0)
        if "error" in found:
            raise RuntimeError(found["error"])
        self._text = found["texts"][0]

    def run(self, who: str, off_s: float | None) -> dict[str, object]:
        """One row. off_s: that the clock of `who` is ahead; None: it is set by JUMP_S while a session goes on, and back
        by as much."""
        clock = ShiftedClock(self._folder, off_s or 0.0)
        row = {"who": who, "off": "set by 300 s, and back" if off_s is None else f"{off_s:+.0f} s"}
        try:
            self._set(who, clock)
        except swarm.SwarmError as error:
            return row | {"works": "no", "what it says": f"{len(str(error).splitlines())} lines: {error}"}
        own = clock if who == "client" else None
        before = self._settled()
        found = (
            self._generate(own, clock, JUMP_TOKENS, JUMP_PACE_S)
            if off_s is None
            else self._generate(own, None, TOKENS, 0.0)
        )
        if "error" in found:
            return row | {"works": "no", "what it says": f"{len(found['error'].splitlines())} lines: {found['error']}"}
        return row | self._judged(found, before)

    def _set(self, who: str, clock: ShiftedClock) -> None:
        if who == "ledger":
            self._ledger.restart(clock)
        if who == "hop":
            self._replace_hop(clock)

    def make_whole(self) -> None:
        """With a hop whose clock is right, after one that was refused or is off."""
        self._replace_hop(None)

    def _replace_hop(self, clock: ShiftedClock | None) -> None:
        for server in [server for server in self._local.servers if server.blocks == (1, 2)]:
            server.stop()
            self._local.servers.remove(server)
        self._local.clock = clock
        try:
            self._paid.add(address_of(self._local.start("1:2").peer_id))
        finally:
            self._local.clock = None

    def _generate(
        self, own: ShiftedClock | None, jumps: ShiftedClock | None, tokens: int, pace_s: float
    ) -> dict[str, object]:
        """What the client's process says in the end. own: its clock. jumps: the one that is set meanwhile."""
        arguments = [self._model, self._local.peers, self._ledger.where, tokens, pace_s]
        command, pipe = [sys.executable, "-c", CLIENT, json.dumps(arguments)], subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | _preload(own))
        said, count, moments = "", 0, {tokens // 12: JUMP_S, tokens // 2: 0.0}
        for line in process.stdout:
            said, count = line, count + 1
            if jumps and count in moments:
                jumps.set(moments[count])
        errors = process.stderr.read()
        process.wait()
        with suppress(ValueError):
            return json.loads(said) | {"told": errors}
        return {"error": errors}

    def _settled(self) -> int:
        return sum(self._book.account(one).available for one in self._paid)

    def _judged(self, found: dict[str, object], before: int) -> dict[str, object]:
        deadline = time.monotonic() + SETTLED_S
        while self._settled() - before < found["cost"] and time.monotonic() < deadline:
            time.sleep(0.2)
        first, second = found["texts"]
        good = {
            "text": (first, second) == (self._text[: len(first)], self._text[: len(second)]),
            "receipts": found["receipts"] > 0 and not found["faults"],
            "audits": set(found["audits"]) == {"PASS"},
            "settled": self._settled() - before == found["cost"] > 0,
            "book": audit(self._book).holds,
        }
        bad = [name for name, holds in good.items() if not holds]
        logs = [found["told"], *((server.home / "stderr").read_text() for server in self._local.servers)]
        told = dict.fromkeys(line for text in logs for line in text.splitlines() if "clock" in line)
        return {"works": f"not: {', '.join(bad)}" if bad else "yes", "what it says": "; ".join(told)}


@contextmanager
def begun() -> Iterator[Trials]:
    with tiny_model() as model, tempfile.TemporaryDirectory() as folder:
        ledger = _Ledger(Path(folder) / "ledger")
        try:
            with _Swarm(model, ["0:1", "1:2", "2:3"], ledger=ledger.where, **OPTIONS) as local:
                yield Trials(model, Path(folder), ledger, local)
        finally:
            ledger.stop()


def trials(who: list[str], seconds: list[float]) -> Iterator[dict[str, object]]:
    with begun() as one:
        one.begin()
        for name in who:
            # A ledger's time never goes back, whatever its clock says: so it begins with the earliest.
            for off_s in [*sorted(-each for each in seconds), None, *sorted(seconds)]:
                yield one.run(name, off_s)
            if name == "hop":
                one.make_whole()
