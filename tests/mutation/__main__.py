"""Draws mutations of lines that tests run, tries each, and says which test catches it.

    PYTHONPATH=tests python -m mutation --seed 13 --count 40

Three steps, each kept in build/mutations and not done again if it is there: which test runs which line (all tests,
once, under coverage), the draw, and the trials, side by side. A mutation that no test catches is for a person to judge:
`--judge PLACE TEXT` writes down why it changes no behaviour. After a change of the code or its tests, `--fresh`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from mutation.lines import FOLDER, collected
from mutation.mutants import Mutation, draw, mutations
from mutation.trials import Tree, environment, stages

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "mutations"
ROOMS = {
    **{name: f"swarm/{name}/" for name in ("market", "verify", "server", "session", "client", "peers", "generate")},
    **{name: f"swarm/{name}/" for name in ("route", "model", "wire", "cli", "auditor")},
    "kernels": "kernels/swarm_kernels/",
}
_NOT_OURS = ("_pb2.py",)


def measure(tests: Sequence[str]) -> dict:
    """Which test runs which line, and how long each takes."""
    folder = KEPT / "lines"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pytest", "-p", "mutation.lines", "-n", str(os.cpu_count()), "--dist", "loadfile"]
    done = subprocess.run([*command, *tests], cwd=ROOT, env={**environment(ROOT), FOLDER: str(folder)}, check=False)
    if done.returncode:
        print(f"warning: pytest ended with {done.returncode}; what fails unchanged catches nothing", file=sys.stderr)
    lines, durations = collected(folder, ROOT)
    shutil.rmtree(folder)
    return {"lines": lines, "durations": durations}


def drawn(lines: dict[str, dict[str, list[str]]], rooms: Sequence[str], count: int, seed: int) -> list[Mutation]:
    by_room: dict[str, list[Mutation]] = {room: [] for room in rooms}
    for file, by_line in lines.items():
        room = next((room for room in rooms if file.startswith(ROOMS[room])), None)
        if room and not file.endswith(_NOT_OURS):
            by_room[room] += mutations(file, (ROOT / file).read_bytes(), {int(line) for line in by_line})
    return draw(by_room, count, seed)


class Results:
    """One row a mutation, on disk after each trial."""

    def __init__(self, file: Path, rows: list[dict]):
        self._file, self.rows = file, rows

    def save(self) -> None:
        self._file.write_text(json.dumps(self.rows, indent=1))

    def table(self) -> str:
        lines = ["| place | mutation | caught by | judged |", "|---|---|---|---|"]
        for row in self.rows:
            change = f"{row['kind']}: `{_short(row['before'])}` -> `{_short(row['after'])}`"
            caught = "not tried" if row["caught"] is None else row["caught"] or "**survived**"
            lines.append(f"| {row['file']}:{row['line']} | {change} | {caught} | {row['judged']} |")
        return "\n".join(lines)

    def summary(self) -> str:
        tried = [row for row in self.rows if row["caught"] is not None]
        survived = [row for row in tried if not row["caught"]]
        judged = sum(bool(row["judged"]) for row in survived)
        return (
            f"{len(tried)} of {len(self.rows)} tried, {len(tried) - len(survived)} caught, {len(survived)} survived"
            + (f", of which {judged} judged to change nothing" if judged else "")
        )


def _short(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= 60 else f"{text[:57]}..."


def run_trials(results: Results, known: dict, widely: bool, limit_s: float, workers: int) -> None:
    trees: SimpleQueue[Tree] = SimpleQueue()
    for _ in range(workers):
        trees.put(Tree(ROOT))

    def trial(row: dict) -> None:
        mutation = Mutation(**{name: row[name] for name in Mutation.__dataclass_fields__})
        contexts = known["lines"][mutation.file][str(mutation.line)]
        tree = trees.get()
        outcome = tree.try_(mutation, stages(contexts, known["durations"], widely), limit_s)
        trees.put(tree)
        row.update(caught=outcome.caught, stage=outcome.stage, seconds=round(outcome.seconds, 1))
        results.save()
        print(f"{mutation.place} {mutation.kind}: {outcome.caught or 'SURVIVED'} ({row['seconds']} s)", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(trial, [row for row in results.rows if row["caught"] is None]))
    while not trees.empty():
        trees.get().__exit__()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--seed", type=int, default=13)
    add("--count", type=int, default=40)
    add("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS), metavar="ROOM", help=", ".join(ROOMS))
    add("--widely", action="store_true", help="try survivors on all tests, not only on those that run the line")
    add("--limit", type=float, default=900.0, metavar="S", help="for one mutation (default: 900)")
    add("--workers", type=int, default=os.cpu_count(), help="mutations side by side (default: a processor each)")
    add("--tests", nargs="+", default=[], metavar="PATH", help="look only at these tests (default: all)")
    add("--fresh", action="store_true", help="forget what is kept in build/mutations")
    add("--judge", nargs=2, metavar=("PLACE", "TEXT"), help="write down why a survivor changes no behaviour")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    if args.fresh:
        shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    measured, results_file = KEPT / "lines.json", KEPT / f"seed-{args.seed}.json"
    if not measured.exists():
        measured.write_text(json.dumps(measure(args.tests)))
    known = json.loads(measured.read_text())
    if not results_file.exists():
        found = drawn(known["lines"], args.rooms, args.count, args.seed)
        Results(results_file, [{**one.to_json(), "caught": None, "judged": ""} for one in found]).save()
    results = Results(results_file, json.loads(results_file.read_text()))
    if args.judge:
        place, text = args.judge
        for row in results.rows:
            if f"{row['file']}:{row['line']}" == place:
                row["judged"] = text
        results.save()
    else:
        run_trials(results, known, args.widely, args.limit, args.workers)
    print(f"{results.table()}\n\n{results.summary()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
