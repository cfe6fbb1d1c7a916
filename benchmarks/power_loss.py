"""Five machines lose power at once, and come back in any order: when is the swarm whole, and what did it keep?

    python benchmarks/power_loss.py [--trials 5]

Five server processes and a ledger's on loopback, each machine with a SWARM_HOME of its own, of which no command line
names a port of its own: the first machine keeps the ledger and began the swarm, the others were told its address once.
In the middle of a paid generation everything is killed (SIGKILL), the client too. Then all start again with the same
command lines, in an order drawn by chance, a random pause of up to two seconds after one another. The swarm is whole
when every one of the five is found, serving, through each of the five, and the ledger answers. Then the client pays on
the channels that it had, for the text that it had before.

The exit status is 1 if a swarm was not whole, a text differed, or an account or a channel was not as before.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.report import Report, make_parser, print_table, prompt_tokens
from swarm.errors import SwarmError
from swarm.market.ledger.audit import audit
from swarm.market.ledger.opening import open_ledger
from swarm.peers.directory import Directory
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import Identity

RANGES = ("0:10", "10:20", "20:30", "0:15", "15:30")
LIMIT_S = 120.0
PROMPT, NEW_TOKENS = 24, 40
MODEL = "demo"
PRICED = ("--price", "0.000001", "--settle-every", "5")
CLIENT = """
import json, sys, swarm
peers, ledger, prompt, count = json.loads(sys.argv[1])
with swarm.Client("demo", peers, ledger=ledger, audit="off", dtype="float32") as client:
    print("ready", flush=True)
    stream = client.stream(prompt, max_new_tokens=count, ignore_eos=True)
    for piece in stream:
        print("token", flush=True)
    print(json.dumps(stream.generation.token_ids), flush=True)
"""


@dataclass
class Machine:
    """A SWARM_HOME and the commands that run there when it has power."""

    home: Path
    commands: list[list[str]] = field(default_factory=list)
    running: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *command: str) -> dict:
        """A command for good: what it says when it is ready."""
        self.commands.append([sys.executable, "-m", *command, "--json"])
        return ready(self._run(self.commands[-1]))

    def power_on(self) -> None:
        for command in self.commands:
            self._run(command)

    def power_off(self) -> list[int]:
        """The processes to kill."""
        return [process.pid for process in self.running]

    def forget(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()

    def _run(self, command: Sequence[str]) -> subprocess.Popen:
        environment = {**os.environ, "SWARM_HOME": str(self.home)}
        with open(self.home / "log", "a") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        self.running.append(process)
        return process


def ready(process: subprocess.Popen) -> dict:
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "ready":
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return event
        if event["event"] == "error":
            raise SystemExit(event["message"])
    raise SystemExit("a process ended before it was ready")


@dataclass
class Swarm:
    """Five machines, a user's own with a client, and what all of them rely on."""

    machines: list[Machine]
    user: Machine
    ledger: str
    addresses: list[str]  # one of each machine's node
    peer_ids: set[str]

    @classmethod
    def begin(cls, folder: Path) -> "Swarm":
        homes = [folder / f"machine{number}" for number in range(len(RANGES))]
        for home in [*homes, folder / "user"]:
            home.mkdir()
        machines = [Machine(home) for home in homes]
        where = machines[0].start("swarm", "ledger", "serve")["where"]
        events: list[dict] = []
        for machine, blocks in zip(machines, RANGES, strict=True):
            told = ["--peers", events[0]["addresses"][0]] if events else []
            options = ("--blocks", blocks, "--dtype", "float32", "--threads", "1", "--kv-memory", "128M")
            events.append(machine.start("swarm.server", *options, "--ledger", where, *PRICED, *told))
        user = Machine(folder / "user")
        issuer = open_ledger(where, Identity.load_or_create(homes[0] / "client.key"))
        issuer.mint(Identity.load_or_create(user.home / "client.key").address, 10 * CREDIT)
        return cls(machines, user, where, [one["addresses"][0] for one in events], {one["peer_id"] for one in events})

    def client(self, tokens: int = NEW_TOKENS) -> subprocess.Popen:
        """A paid generation."""
        given = json.dumps([self.addresses, self.ledger, prompt_tokens(PROMPT, 0), tokens])
        return self.user._run([sys.executable, "-c", CLIENT, given])

    def text(self) -> list[int]:
        lines = [line for line in self.client().stdout if line.startswith("[")]
        self.user.forget()
        return json.loads(lines[-1]) if lines else []

    def lose_power(self, rng: random.Random) -> None:
        """While a client generates."""
        client, left = self.client(), rng.randrange(1, NEW_TOKENS)
        for line in client.stdout:
            left -= line == "token\n"
            if not left:
                break
        everything = [pid for machine in (*self.machines, self.user) for pid in machine.power_off()]
        for pid in everything:
            os.kill(pid, signal.SIGKILL)
        for machine in (*self.machines, self.user):
            machine.forget()

    def come_back(self, rng: random.Random) -> list[int]:
        order = rng.sample(range(len(self.machines)), len(self.machines))
        for number in order:
            self.machines[number].power_on()
            time.sleep(rng.uniform(0, 2.0))
        return order

    def whole_s(self) -> float | None:
        """Seconds until it is; None if that takes longer than LIMIT_S."""
        started = time.monotonic()
        while time.monotonic() - started < LIMIT_S:
            if all(self._seen_through(address) >= self.peer_ids for address in self.addresses) and self.book():
                return time.monotonic() - started
            time.sleep(0.2)
        return None

    def _seen_through(self, address: str) -> set[str]:
        async def look() -> set[str]:
            try:
                directory = await Directory.join([address], client=True, timeout_s=2.0)
            except SwarmError:
                return set()
            try:
                return {info.peer_id for info in await directory.peers(MODEL)}
            finally:
                await directory.leave()

        return asyncio.run(look())

    def book(self) -> "Book | None":
        """None while the ledger does not answer."""
        identity = Identity.load_or_create(self.user.home / "client.key")
        try:
            ledger = open_ledger(self.ledger, identity)
            problems = audit(ledger).problems
            channels = ledger.channels(payer=identity.address)
            return Book(list(ledger.history()), {one.id: one.paid for one in channels}, problems)
        except SwarmError:
            return None


@dataclass(frozen=True)
class Book:
    """What the ledger's service says."""

    history: list[object]
    settled: dict[bytes, int]  # of the client's channels: nano-credits
    problems: tuple[str, ...]

    def continues(self, before: "Book") -> bool:
        """Whether nothing of `before` is gone, and no channel was opened."""
        return (
            self.history[: len(before.history)] == before.history
            and self.settled.keys() == before.settled.keys()
            and all(self.settled[id_] >= amount for id_, amount in before.settled.items())
        )


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report, rng, rows = Report(args), random.Random(args.seed), []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        swarm = Swarm.begin(Path(folder))
        try:
            expected = swarm.text()
            for trial in range(args.trials):
                before = swarm.book()
                swarm.lose_power(rng)
                order = swarm.come_back(rng)
                whole_s = swarm.whole_s()
                is_same, book = swarm.text() == expected, swarm.book()
                rows.append({
                    "trial": trial, "order": "".join(map(str, order)),
                    "whole after s": whole_s and round(whole_s, 1), "same text": is_same,
                    "book goes on": bool(book and before and book.continues(before)),
                    "problems": list(book.problems) if book else ["no answer"],
                })  # fmt: skip
                print(rows[-1], flush=True)
        finally:
            for machine in (*swarm.machines, swarm.user):
                machine.forget()
    print_table(rows)
    times = [row["whole after s"] for row in rows if row["whole after s"]]
    report.save("power_loss", {"rows": rows, "median s": statistics.median(times or [LIMIT_S])})
    good = [row["whole after s"] and row["same text"] and row["book goes on"] and not row["problems"] for row in rows]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
