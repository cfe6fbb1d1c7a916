"""This tree against another, on one machine in turns: has any figure become worse than the noise?

    python benchmarks/paired --against COMMIT or PATH [--only CASE ...] [--rounds 12] [--trials 20]

hop_overhead, tokens_per_second and payment: the same measuring program (worker.py, which uses public names only) runs
on both packages at once, each with servers of its own, and measures when its turn comes; which is first alternates. A
round's ratio is of two neighbours in time. receipts and survival reach further into the package: there each tree runs
its own script, in turns. 25 minutes on two cores; nothing else may run there.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

from harness.report import Report, commit, make_parser, print_table
from harness.tiny import tiny_model

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")
THREE = ["0:10", "10:20", "20:30"]
SCENARIOS = ("kill", "hang")
Row = dict[str, object]


# --- the same program on both ----------------------------------------------------------------------------------------


class Worker:
    """worker.py with one tree's package."""

    def __init__(self, tree: Path, home: Path, task: dict):
        environment = environment_of(tree) | {"SWARM_HOME": str(home)}
        command = [sys.executable, str(WORKER), json.dumps(task)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, cwd=home, **pipes)

    def wait_ready(self) -> None:
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit("a worker ended before it was ready; what it said is above")

    def sample(self) -> float:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def environment_of(tree: Path) -> dict[str, str]:
    path = os.pathsep.join((str(tree), str(tree / "kernels")))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def in_turns(trees: Sequence[Path], rounds: int, **task: object) -> list[list[float]]:
    """Samples of each tree."""
    with ExitStack() as stack:
        workers = []
        for tree in trees:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            workers.append(Worker(tree, home, task))
            stack.callback(workers[-1].close)
        for worker in workers:
            worker.wait_ready()
        samples: list[list[float]] = [[] for _ in workers]
        for number in range(rounds):
            order = range(len(workers)) if number % 2 else reversed(range(len(workers)))
            for index in order:
                samples[index].append(workers[index].sample())
    return samples


def compared(what: str, samples: Sequence[Sequence[float]]) -> Row:
    """samples: of before and of now, less being better."""
    before, now = samples
    ratios = [new / old for old, new in zip(before, now, strict=True)]
    least, _, most = statistics.quantiles(ratios, n=4)
    return {
        "what": what,
        "before": statistics.median(before),
        "now": statistics.median(now),
        "now/before": round(statistics.median(ratios), 3),
        "quartiles": f"{least:.3f} {most:.3f}",
        "rounds": len(ratios),
    }


def hop_overhead(trees: Sequence[Path], rounds: int) -> Iterator[Row]:
    with tiny_model(vocabulary=512) as tiny:
        small = {"model": tiny, "blocks": ["0:1", "1:2", "2:3"], "prompt": list(range(1, 33)), "tokens": 128}
        yield compared("overhead of a hop, tiny blocks, ms", in_turns(trees, rounds, case="overhead", **small))
    what = "overhead of a hop and a third of the head, demo, ms"
    demo = {"model": "demo", "blocks": THREE, "prompt": list(range(1000, 1032)), "tokens": 48}
    yield compared(what, in_turns(trees, rounds, case="overhead", **demo))


def tokens_per_second(trees: Sequence[Path], rounds: int) -> Iterator[Row]:
    for quant in ("int8", "int4"):
        samples = in_turns(trees, rounds, case="speed", quant=quant, tokens=96)
        yield compared(f"token of two hops, {quant}, ms", samples)


def payment(trees: Sequence[Path], rounds: int) -> Iterator[Row]:
    for quant, tokens in (("int4", 64), ("none", 32)):
        samples = in_turns(trees, rounds, case="payment", quant=quant, tokens=tokens)
        yield compared(f"paid token / free one, {quant}", samples)


# --- each tree's own script ------------------------------------------------------------------------------------------


def own_script(tree: Path, name: str, *options: str) -> dict:
    """What benchmarks/`name`.py of `tree` saves. Before it could say where, that was in benchmarks/results."""
    with tempfile.TemporaryDirectory() as folder:
        script = tree / "benchmarks" / f"{name}.py"
        says_where = (tree / "benchmarks" / "harness" / "report.py").exists()
        command = [sys.executable, str(script), *options, *(["--output", folder] if says_where else [])]
        done = subprocess.run(command, cwd=tree, env=environment_of(tree), stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            print(f"{name} of {tree} ended with exit status {done.returncode}", file=sys.stderr)
        kept = Path(folder) if says_where else tree / "benchmarks" / "results"
        return json.loads((kept / f"{name}.json").read_text())


def receipts(trees: Sequence[Path], rounds: int) -> Iterator[Row]:
    found = [[], []]
    for number in range(2):
        for index in (0, 1) if number else (1, 0):
            found[index].append(
                own_script(trees[index], "receipts", "--rounds", str(max(rounds // 3, 2)), "--tokens", "64")
            )
    figures: dict[str, Callable[[dict], float]] = {
        "signing, us a token of a hop": lambda one: one["hop"][0]["signing us"],
        "checking, us a token of three hops": lambda one: one["client"]["us a token"],
        "a token with receipts / without, int4": lambda one: 1 + one["chain"][0]["time added %"] / 100,
        "a token with receipts / without, float32": lambda one: 1 + one["chain"][1]["time added %"] / 100,
    }
    for what, figure in figures.items():
        yield compared(what, [[figure(one) for one in side] for side in found])


def survival(trees: Sequence[Path], trials: int) -> Iterator[Row]:
    found: list[dict[str, list[dict]]] = [{name: [] for name in SCENARIOS} for _ in trees]
    for half in range(2):
        for index in (0, 1) if half else (1, 0):
            saved = own_script(trees[index], "survival", "--trials", str(trials // 2), "--scenario", *SCENARIOS)
            for name in SCENARIOS:
                found[index][name] += saved["trials"][name]
    for name in SCENARIOS:
        for side, outcomes in zip(("before", "now"), found, strict=True):
            pauses = sorted(one["pause_s"] for one in outcomes[name])
            yield {
                "scenario": name,
                "tree": side,
                "trials": len(pauses),
                "same tokens": sum(one["identical"] for one in outcomes[name]),
                "failed": sum(bool(one["error"]) for one in outcomes[name]),
                "pause s, median": statistics.median(pauses),
                "quartiles": " ".join(f"{one:.3f}" for one in statistics.quantiles(pauses, n=4)[::2]),
                "longest": pauses[-1],
            }


TURNS = {case.__name__: case for case in (hop_overhead, tokens_per_second, receipts, payment)}


# --- output ----------------------------------------------------------------------------------------------------------


@contextmanager
def copy_of(what: str) -> Iterator[tuple[Path, str]]:
    """A folder with the checkout or commit `what`, whose scripts may write in it; and the commit."""
    with tempfile.TemporaryDirectory() as folder:
        if Path(what).is_dir():
            shutil.copytree(what, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git", ".venv"))
            yield Path(folder).resolve(), commit(Path(what))
            return
        archive = subprocess.run(["git", "archive", what], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
        yield Path(folder).resolve(), what


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--against", required=True, metavar="COMMIT", help="or another checkout")
    parser.add_argument("--only", nargs="+", choices=[*TURNS, "survival"], default=[*TURNS, "survival"], metavar="CASE")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--trials", type=int, default=20, help="of each scenario of survival, on each tree")
    args = parser.parse_args()
    report = Report(args)
    rows: list[Row] = []
    survived: list[Row] = []
    with copy_of(args.against) as (other, name):
        trees = (other, ROOT)
        for case in args.only:
            found = survival(trees, args.trials) if case == "survival" else TURNS[case](trees, args.rounds)
            for row in found:
                print(row, flush=True)
                (survived if case == "survival" else rows).append(row)
                report.save("paired", {"against": name, "rows": rows, "survival": survived})
    for table in (rows, survived):
        if table:
            print_table(table)


if __name__ == "__main__":
    main()
