"""Servers whose libp2p daemon is killed while they work: how long are they unseen, and does a session feel it?

    python benchmarks/daemon_deaths.py [--deaths 50]

Real server processes on loopback, the demo model in float32, three hops of ten blocks, without replicas: whoever were
lost would be missed. Four clients, each in a process of its own, generate from prompts whose tokens are known. At
random moments the daemon below a random server is killed (SIGKILL). It is seen again when another node finds a record
that the server has signed after that.

The exit status is 1 if a token differed, a generation failed, a hop was replaced or a server was not seen again.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import random
import statistics
import sys
import time

import psutil
import torch

from harness.replicas import replicated_swarm
from harness.report import Report, make_parser, print_table, prompt_tokens
from harness.soak_client import CASES, client_processes, wait_for_all
from swarm.client.background import wait
from swarm.peers.directory import Directory

CLIENTS = 4
LIMIT_S = 60.0
LOOK_EVERY_S = 0.1


def kill_daemon(pid: int) -> None:
    """Of the server with that process id."""
    for process in psutil.Process(pid).children(recursive=True):
        if process.name() == "p2pd":
            process.kill()


def seen_again_s(directory: Directory, model: str, peer_id: str, since_ms: int) -> float | None:
    """Seconds until `directory` has a record by that peer that was signed after `since_ms`; None if it takes longer
    than LIMIT_S."""
    started = time.monotonic()
    while time.monotonic() - started < LIMIT_S:
        found = wait(directory.peers(model))
        if any(info.peer_id == peer_id and info.issued_ms > since_ms for info in found):
            return time.monotonic() - started
        time.sleep(LOOK_EVERY_S)
    return None


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--deaths", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report, rng = Report(args), random.Random(args.seed)
    torch.set_num_threads(1)
    times: list[float | None] = []
    with replicated_swarm(1) as (replicas, observer):
        expected = [
            observer.generate(prompt_tokens(prompt, index), max_new_tokens=count, ignore_eos=True).token_ids
            for index, (prompt, count) in enumerate(CASES)
        ]
        model = observer.parts.checkpoint.name
        directory = wait(Directory.join(replicas.local.peers, client=True))
        with client_processes(CLIENTS, replicas.local.peers, expected, args.seed) as clients:
            for death in range(args.deaths):
                time.sleep(rng.uniform(0.0, 4.0))
                server = rng.choice(replicas.local.servers)
                since_ms = int(time.time() * 1000)
                kill_daemon(server.pid)
                times.append(seen_again_s(directory, model, server.peer_id, since_ms))
                print(f"death {death}: seen again after {times[-1] and round(times[-1], 2)} s", flush=True)
            for client in clients:
                client.process.stdin.write("stop\n")
                client.process.stdin.flush()
            wait_for_all(clients, "quiet", 120)
            generations = [one for client in clients for one in client.generations()]
        wait(directory.leave())
    back = sorted(one for one in times if one is not None)
    row = {
        "deaths": args.deaths,
        "seen again": len(back),
        "median s": round(statistics.median(back), 2) if back else None,
        "worst s": round(back[-1], 2) if back else None,
        "generations": len(generations),
        "failed": sum(bool(one["error"]) for one in generations),
        "other tokens": sum(one["wrong"] for one in generations),
        "hops replaced": sum(one["repairs"] for one in generations),
    }
    print_table([row])
    report.save("daemon_deaths", {**row, "seconds": times})
    return int(len(back) < args.deaths or bool(row["failed"] or row["other tokens"] or row["hops replaced"]))


if __name__ == "__main__":
    sys.exit(main())
