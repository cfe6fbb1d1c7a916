"""How long the first commands that a user types take, from the shell's point of view, and what a server costs to start.

    python benchmarks/startup.py [--against FOLDER]

Real processes, each started anew, against a swarm of three servers on this machine; in turns with `import torch` alone,
which no program that computes can do without, and with another checkout, as of the commit before a change. Wall time
depends on what else the machine does; processor time, of the process and all that it waited for, hardly does.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import swarm
from harness.report import Report, commit, make_parser, print_table

HERE = Path(__file__).parents[1]
REFERENCE = "import torch"
COMMANDS = {
    REFERENCE: ["-c", "import torch"],
    "import swarm": ["-c", "import swarm"],
    "swarm --help": ["-m", "swarm", "--help"],
    "status --once": ["-m", "swarm", "status", "--once"],
    "generate, 4 tokens": ["-m", "swarm", "generate", "--max-new-tokens", "4", "The capital of France is"],
}
SERVER = ["-m", "swarm.server", "--json", "--blocks", "0:10", "--quant", "int8", "--threads", "1"]


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float
    memory_mib: float = 0.0  # 0: not measured


def run(tree: Path, command: list[str], environment: dict[str, str]) -> Cost:
    """Of one process of `tree`, until it has ended. Raises CalledProcessError."""
    started = time.perf_counter()
    process = _launch(tree, command, environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def start_server(tree: Path, environment: dict[str, str]) -> Cost:
    """Of a server of `tree`, until it is ready, and then in memory."""
    started = time.perf_counter()
    process = _launch(tree, SERVER, environment, subprocess.PIPE)
    assert process.stdout
    try:
        next(line for line in process.stdout if json.loads(line)["event"] == "ready")
        wall_s = time.perf_counter() - started
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        resident = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
        return Cost(wall_s, cpu_s, int(resident) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _launch(
    tree: Path, command: list[str], environment: dict[str, str], output: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    paths = {"PYTHONPATH": f"{tree}:{tree / 'kernels'}"}
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=tree, env={**os.environ, **environment, **paths}, stdout=output, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def users_environment(peers: list[str]) -> Iterator[dict[str, str]]:
    """Of commands that find this swarm, and keep what they keep in a folder of their own."""
    with tempfile.TemporaryDirectory() as home:
        yield {"SWARM_PEERS": " ".join(peers), "SWARM_HOME": home, "OMP_NUM_THREADS": "1"}


def measure(trees: dict[str, Path], runs: int) -> dict[str, dict[str, list[Cost]]]:
    """By tree and command. The first round only warms the disk's cache."""
    costs: dict[str, dict[str, list[Cost]]] = {name: defaultdict(list) for name in trees}
    with (
        swarm.LocalSwarm("demo", quant="int8", threads=1) as local,
        users_environment(local.peers) as environment,
    ):
        for turn in range(runs + 1):
            for what, command in COMMANDS.items():
                for name, tree in trees.items():
                    cost = run(tree, command, environment)
                    if turn:
                        costs[name][what].append(cost)
            print(f"turn {turn} of {runs}", file=sys.stderr)
        for _ in range(max(runs // 3, 1)):
            for name, tree in trees.items():
                costs[name]["server, until ready"].append(start_server(tree, environment))
    return costs


def summary(costs: dict[str, list[Cost]]) -> dict[str, dict[str, Any]]:
    """Medians and quartiles, and how often `import torch` would fit in."""
    torch_s = statistics.median(cost.wall_s for cost in costs[REFERENCE])
    return {
        what: {
            "wall_s": _quartiles([cost.wall_s for cost in found]),
            "cpu_s": _quartiles([cost.cpu_s for cost in found]),
            "memory_mib": round(statistics.median(cost.memory_mib for cost in found)),
            "times_import_torch": round(statistics.median(cost.wall_s for cost in found) / torch_s, 2),
        }
        for what, found in costs.items()
    }


def _quartiles(values: list[float]) -> list[float]:
    if len(values) < 2:
        return [round(values[0], 3)] * 3
    return [round(value, 3) for value in statistics.quantiles(values, n=4, method="inclusive")]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=9, help="of each command (default: %(default)s)")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, measured in turns with this")
    args = parser.parse_args()
    report = Report(args)
    trees = {"this": HERE} | ({"other": args.against.resolve()} if args.against else {})
    found = {name: summary(costs) for name, costs in measure(trees, args.runs).items()}
    print_table(
        [
            {"command": what, "tree": name, "s": figures["wall_s"][1], "processor s": figures["cpu_s"][1],
             "x import torch": figures["times_import_torch"], "MiB": figures["memory_mib"]}
            for what in found["this"] for name in found for figures in [found[name][what]]
        ]
    )  # fmt: skip
    report.save("startup", {"commits": {name: commit(tree) for name, tree in trees.items()}, **found})


if __name__ == "__main__":
    main()
