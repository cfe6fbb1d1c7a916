"""A server computes a long prompt while other processes want the cores: can it still be seen, and does it answer?

    python benchmarks/busy [--against CHECKOUT] [--contexts 128 2000 8176] [--others 0 4] [--json]

One server of the whole demo model in float32, with as many threads as it likes; a client with a prompt; a process that
looks at the server every half second through the directory, afresh every few seconds, and asks it for its status ten
times a second; and other processes that do nothing but compute. For each: the longest time that the record was absent,
fresh readers that did not find it, the longest and the median ping, the longest time between two records that were
seen, and how fast the prompt went through and tokens came. --against: another tree (before), in turns with this one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

from harness.report import Report, commit, make_parser, print_table

ROOT = Path(__file__).parents[2]
WATCH = Path(__file__).with_name("watch.py")
NEW_TOKENS = 16
LIMIT_S = 300.0  # of one trial
READY_S = 3.0  # that the others get to be at it


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that compute without end."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(READY_S if count else 0.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def trial(tree: Path, context: int, others: int) -> dict[str, object]:
    """What watch.py saw of one prompt."""
    task = json.dumps({"prompt": context, "tokens": NEW_TOKENS, "quant": "none"})
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PYTHONPATH": f"{tree}:{tree / 'kernels'}", "SWARM_HOME": home}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, str(WATCH), task], env=environment, **pipes) as process:
            if process.stdout.readline() != "ready\n":
                raise SystemExit("a trial ended before it was ready; what it said is above")
            with spinning(others):
                try:
                    output, _ = process.communicate("\n", timeout=LIMIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    return {"error": f"not done after {LIMIT_S:.0f} s"}
    return json.loads(output)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="of a version to measure as well")
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 2000, 8176], metavar="TOKENS")
    parser.add_argument("--others", type=int, nargs="+", default=[0, 4], metavar="N", help="processes that compute")
    parser.add_argument("--json", action="store_true", help="print a JSON object at the end, and no table")
    args = parser.parse_args()
    trees = {"before": args.against.resolve()} if args.against else {}
    trees["now"] = ROOT
    report = Report(args)
    rows = report.earlier("busy").get("rows", [])  # those that are not measured again stay
    for others in args.others:
        for context in args.contexts:
            for name, tree in trees.items():
                what = {"prompt": context, "others": others, "tree": name}
                rows = [row for row in rows if not what.items() <= row.items()]
                rows.append({**what, "commit": commit(tree), **trial(tree, context, others)})
                report.save("busy", {"rows": rows})
    if args.json:
        print(json.dumps(rows))
    else:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        print_table([{name: row.get(name, "") for name in columns} for row in rows])


if __name__ == "__main__":
    main()
