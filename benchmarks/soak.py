"""Clients that generate for minutes while servers come and go: does anything go wrong, leak or grow?

    python benchmarks/soak.py [--minutes 10] [--troubles]

Real server processes on loopback, the demo model in float32, three hops of ten blocks. Every ten seconds a server is
killed, asked to leave, or added, at random, but a range never loses its last but one. With --troubles none dies;
instead, at a random moment of each minute, half of the swarm is cut off for up to 20 s, a server's libp2p daemon is
killed, a server is stopped for 20 s (SIGSTOP), or its receipts are locked for 20 s, as by another program.

Four clients, each in a process of its own, generate from prompts of various lengths whose tokens are known beforehand.
At the end, when all is quiet:

  no token was wrong and no generation failed
  no page of a live server's cache is in use
  no client has notably more asyncio tasks than at the start, nor more sockets than servers could account for
  neither clients nor servers that were there all along have grown by more than a few MiB a minute, second half, nor
  do these servers hold notably more files

The exit status is 1 if a check failed.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import random
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import psutil
import torch

from harness.replicas import Replicas, replicated_swarm
from harness.report import Report, make_parser, print_table, prompt_tokens
from harness.soak_client import CASES, ClientProcess, client_processes, wait_for_all
from harness.soak_plot import plot, series
from harness.troubles import LONGEST_S, OTHER_HOST, Troubles
from swarm.client.local_swarm import LocalServer
from swarm.wire.peer_names import short_id

CLIENTS = 4
CHURN_S = 10.0
TROUBLE_S = 60.0
SPARE_FILES = 24  # of a server that knows a few more peers and clients than at the start
SAMPLE_S = 2.0
LEAST, MOST = 1, 3  # replicas of a range
MOST_GROWTH_MIB = 4.0  # a minute; a leak of every prompt's activations would be several times as much
SPARE_TASKS = 4  # of the directory's, which come and go; one of a generation's that is left behind adds up
MIB = 2**20


# --- churn and samples -----------------------------------------------------------------------------------------------


@dataclass
class Soak:
    """What is going on, and what was seen of it."""

    replicas: Replicas
    clients: list[ClientProcess]
    rng: random.Random
    samples: list[dict] = field(default_factory=list)
    changes: list[dict] = field(default_factory=list)

    def change(self) -> None:
        """Kill a server, let one leave, or add one. Adding takes seconds; it is done by the time of the next change."""
        counts = {blocks: len(self.replicas.live(blocks)) for blocks in self.replicas.ranges}
        fewer = [blocks for blocks, count in counts.items() if count > LEAST]
        more = [blocks for blocks, count in counts.items() if count < MOST]
        if fewer and (not more or self.rng.random() < 0.5):
            blocks, how = self.rng.choice(fewer), self.rng.choice((self.replicas.kill, self.replicas.drain))
            how(self.rng.choice(self.replicas.live(blocks)))
            what = "killed" if how == self.replicas.kill else "left"
        else:
            blocks, what = self.rng.choice(more), "added"
            threading.Thread(target=self.replicas.start, args=[blocks], daemon=True).start()
        self.changes.append({"t": self.now(), "what": what, "blocks": blocks})

    def now(self) -> float:
        return time.monotonic() - self.clients[0].started

    def sample(self) -> None:
        """What every process holds."""
        servers = [server for blocks in self.replicas.ranges for server in self.replicas.live(blocks)]
        self.samples.append({
            "t": self.now(),
            "clients": [footprint(client.process.pid) for client in self.clients],
            "servers": {server.peer_id: footprint(server.pid) for server in servers},
            "replicas": {blocks: len(self.replicas.live(blocks)) for blocks in self.replicas.ranges},
        })  # fmt: skip

    def run(self, seconds: float, troubles: Troubles | None) -> None:
        """Until the last trouble is over, too."""
        started = time.monotonic()
        every_s = TROUBLE_S if troubles else CHURN_S
        changes = [
            number * every_s + (self.rng.uniform(0, every_s - LONGEST_S) if troubles else every_s)
            for number in range(int(seconds / every_s))
        ]
        while (now_s := time.monotonic() - started) < seconds:
            self.sample()
            if changes and now_s >= changes[0]:
                changes.pop(0)
                if troubles:
                    self.changes.append({"t": self.now(), "what": troubles.next()})
                else:
                    self.change()
            time.sleep(SAMPLE_S)

    def quiet_down(self) -> None:
        """End the clients' work and look once more."""
        for client in self.clients:
            client.process.stdin.write("stop\n")
            client.process.stdin.flush()
        wait_for_all(self.clients, "quiet", 120)
        self.sample()


def footprint(pid: int) -> dict[str, float] | None:
    """None if the process is gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        with process.oneshot():
            return {
                "rss_mib": process.memory_info().rss / MIB,
                "fds": process.num_fds(),
                "sockets": len(process.net_connections("tcp")),
            }
    return None


# --- verdicts --------------------------------------------------------------------------------------------------------


def growth_mib(times_s: Sequence[float], rss_mib: Sequence[float]) -> float:
    """A minute, by a straight line through the second half."""
    half = len(times_s) // 2
    if len(times_s) - half < 3:
        return 0.0
    return float(np.polyfit(np.array(times_s[half:]) / 60, rss_mib[half:], 1)[0])


def describe_clients(soak: Soak) -> list[dict[str, object]]:
    rows = []
    for number, client in enumerate(soak.clients):
        outs = client.generations()
        times, prints = series(soak.samples, lambda sample, number=number: sample["clients"][number])
        rows.append({
            "client": number,
            "generations": len(outs),
            "tokens": sum(out["tokens"] for out in outs),
            "wrong": sum(out["wrong"] for out in outs),
            "failed": sum(bool(out["error"]) for out in outs),
            "repairs": sum(out["repairs"] - out["planned"] for out in outs),
            "handovers": sum(out["planned"] for out in outs),
            "longest s": max((out["longest_s"] for out in outs), default=0.0),
            "tasks": f"{client.tasks('ready')} -> {client.tasks('quiet')}",
            "sockets": f"{prints[0]['sockets']} -> {prints[-1]['sockets']}",
            "fds": f"{prints[0]['fds']} -> {prints[-1]['fds']}",
            "MiB/minute": growth_mib(times, [one["rss_mib"] for one in prints]),
        })  # fmt: skip
    return rows


def describe_servers(soak: Soak, pages: dict[str, int | None]) -> list[dict[str, object]]:
    """Those alive at the end. pages: in use, by peer id."""
    rows = []
    for server in alive(soak.replicas):
        times, prints = series(soak.samples, lambda sample, server=server: sample["servers"].get(server.peer_id))
        if prints:
            rows.append({
                "server": short_id(server.peer_id),
                "blocks": soak.replicas.blocks_of(server),
                "minutes": (times[-1] - times[0]) / 60,
                "pages in use": pages.get(server.peer_id),
                "sockets": f"{prints[0]['sockets']} -> {prints[-1]['sockets']}",
                "fds": f"{prints[0]['fds']} -> {prints[-1]['fds']}",
                "MiB/minute": growth_mib(times, [one["rss_mib"] for one in prints]),
            })  # fmt: skip
    return rows


def alive(replicas: Replicas) -> list[LocalServer]:
    return [server for blocks in replicas.ranges for server in replicas.live(blocks)]


def complaints(soak: Soak, clients: Sequence[dict], servers: Sequence[dict], minutes: float) -> list[str]:
    """What the checks above found."""
    found = [
        f"client {row['client']}: {row['wrong']} wrong, {row['failed']} failed"
        for row in clients
        if row["wrong"] or row["failed"]
    ]
    for number, client in enumerate(soak.clients):
        before, after = client.tasks("ready"), client.tasks("quiet")
        if after is None or after > before + SPARE_TASKS:
            found.append(f"client {number}: tasks {before} -> {after}")
        _, prints = series(soak.samples, lambda sample, number=number: sample["clients"][number])
        if prints[-1]["sockets"] > prints[0]["sockets"] + len(servers):
            found.append(f"client {number}: sockets {prints[0]['sockets']} -> {prints[-1]['sockets']}")
    found += [f"server {row['server']}: {row['pages in use']} pages in use" for row in servers if row["pages in use"]]
    long = [row for row in servers if row["minutes"] > minutes / 2]
    for row in long:
        first, last = map(int, str(row["fds"]).split(" -> "))
        if last > first + SPARE_FILES:
            found.append(f"server {row['server']}: files {first} -> {last}")
    found += [
        f"{next(iter(row.values()))} grows by {row['MiB/minute']:.1f} MiB a minute"
        for row in [*clients, *long]
        if minutes >= 5 and row["MiB/minute"] > MOST_GROWTH_MIB
    ]
    return found


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--troubles", action="store_true")
    args = parser.parse_args()
    report, rng = Report(args), random.Random(args.seed)
    torch.set_num_threads(1)
    with replicated_swarm(1 if args.troubles else 2) as (replicas, observer):
        troubles = Troubles(replicas, rng) if args.troubles else None
        for blocks in replicas.ranges if troubles else ():
            replicas.start(blocks, host=OTHER_HOST)
        expected = [
            observer.generate(prompt_tokens(prompt, index), max_new_tokens=count, ignore_eos=True).token_ids
            for index, (prompt, count) in enumerate(CASES)
        ]
        with client_processes(CLIENTS, replicas.local.peers, expected, args.seed) as clients:
            soak = Soak(replicas, clients, rng)
            soak.run(args.minutes * 60, troubles)
            soak.quiet_down()
            answers = replicas.statuses(observer, alive(replicas))
            pages = {peer_id: answer.load.total_pages - answer.load.free_pages for peer_id, answer in answers.items()}
            client_rows, server_rows = describe_clients(soak), describe_servers(soak, pages)
    print_table(client_rows)
    print_table(server_rows)
    found = complaints(soak, client_rows, server_rows, args.minutes)
    name = "soak_troubles" if args.troubles else "soak"
    report.save(
        name,
        {
            "minutes": args.minutes,
            "complaints": found,
            "clients": client_rows,
            "servers": server_rows,
            "changes": soak.changes,
            "samples": soak.samples,
        },
    )
    title = f"{CLIENTS} clients, SmolLM2-135M float32, {report.where}"
    report.draw(plot(soak.samples, soak.changes, soak.clients, soak.replicas.ranges, title), name)
    errors = [out["error"] for client in soak.clients for out in client.generations() if out["error"]]
    for line in [*found, *errors]:
        print(line, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
