"""Whether a swarm passes as many tokens per second as `swarm status` has room for.

    python benchmarks/room.py [--tokens 48]

Real server processes on loopback with the demo model, one compute thread each, all on the first of this machine's
processors; the client on the others, so that its own part takes nothing from them. The room is read before the first
token, when the servers have been there for a while, and again once there was work; in between, sessions generate side
by side, and the figure is their number over the median time between two tokens of a session, in the second half of its
tokens.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress

import torch

import swarm
from harness.report import Report, make_parser, print_table

CASES = {
    "1 peer": ["0:30"],
    "3 peers": ["0:10", "10:20", "20:30"],
    "3 peers, 10:20 twice": ["0:10", "10:20", "10:20", "20:30"],
}
REFRESH_S = 12.0  # until every peer has said its figures again


def said(peers: list[str]) -> float:
    """Tokens/s for which there is room."""
    command = [sys.executable, "-m", "swarm", "status", "--json", "--peers", *peers]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["expected_tokens_per_s"])


def passed(client: swarm.Client, sessions: int, tokens: int) -> float:
    """Tokens/s of so many sessions together."""
    prompts = [[5 + index, 7, 9] for index in range(sessions)]
    outs = client.generate(prompts, max_new_tokens=tokens, ignore_eos=True)
    step_s = statistics.median(step_s for out in outs for step_s in out.step_latencies_s[tokens // 2 :])
    return sessions / step_s


def stay_on(processors: set[int]) -> None:
    """This process, all of its threads, and what it starts from now on."""
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it ended
            os.sched_setaffinity(int(thread), processors)


def measure(quant: str, blocks: list[str], args: argparse.Namespace) -> dict[str, float]:
    first, *others = sorted(os.sched_getaffinity(0))
    dtype = "float32" if quant == "none" else "bfloat16"
    stay_on({first})
    try:
        with swarm.LocalSwarm("demo", blocks, quant=quant, dtype=dtype, threads=1, kv_memory="512M") as local:
            stay_on(set(others))
            with swarm.Client("demo", local.peers, max_concurrent=args.sessions) as client:
                time.sleep(REFRESH_S)
                idle = said(local.peers)
                passed(client, args.sessions, 8)
                measured = statistics.median(passed(client, args.sessions, args.tokens) for _ in range(args.repeats))
                time.sleep(REFRESH_S)
                return {"said before": idle, "measured": measured, "said after": said(local.peers)}
    finally:
        stay_on({first, *others})


def main() -> None:
    parser = make_parser(__doc__ or "")
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48, help="of each session")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two processors are needed: one for the servers, and one for the client")
    torch.set_num_threads(1)
    report, rows = Report(args), []
    for quant in ("none", "int8", "int4"):
        for name, blocks in CASES.items():
            found = measure(quant, blocks, args)
            ratios = {f"{when}/measured": found[when] / found["measured"] for when in ("said before", "said after")}
            rows.append({"weights": quant, "swarm": name, **found, **ratios})
            print(rows[-1], flush=True)
    print_table(rows)
    report.save("room", {"cases": rows})


if __name__ == "__main__":
    main()
