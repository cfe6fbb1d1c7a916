"""A disk is full, read-only, locked for 30 s, gone, or takes 200 ms a write, while a server, a client or a ledger's
service works on it: what does a client see, what is there afterwards, and how soon is everything as it was?

    python benchmarks/disks [--faults full locked ...] [--scenes server ...] [--tree CHECKOUT] [--json]

It needs root, gcc and Linux: the disks are tmpfs mounts (see faults.py). server: a paid session goes on all the time,
and short ones are tried one after the other; two seconds after all is over the server is killed, and only what is on
its disk counts. client: its home fails before its first payment channel is opened. ledger: orders, one after the other;
the service is killed, and the book audited. digests: taken during the fault, and after it. lost: receipts, openings, or
nano-credits, that one side has the other's signature or answer for and the disk does not. --tree: another checkout,
which is looked at instead. The exit status is 1 if anything was lost, or was not back within 10 s.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

from disks.faults import FAULTS, Disk
from disks.scenes import SCENES
from harness.report import Report, make_parser, print_table

ROOT = Path(__file__).parents[2]
SECONDS = {"locked": 30.0}  # that a fault lasts; others:
FAULT_S, BACK_S = 10.0, 10.0


def trial(scene: str, fault: str, tree: Path) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="disks-", ignore_cleanup_errors=True) as base:
        disk = Disk(Path(base) / "mount")
        try:
            rows = SCENES[scene](disk, fault, SECONDS.get(fault, FAULT_S), Path(base), tree)
        except Exception as error:  # one trial that fails is a result too
            seen = {f"{type(error).__name__}: {error}"[:300]: 1}
            unknown = dict.fromkeys(("session under way", "log lines", "there", "lost"), "?")
            rows = [{"fault": fault, "of": scene, "client sees": seen, "back after s": "never", **unknown}]
        finally:
            disk.close()
    return [{"scene": scene, **row} for row in rows]


def earlier(rows: list[dict[str, object]], args: argparse.Namespace) -> list[dict[str, object]]:
    """Of rows of an earlier run, what is not measured again."""
    return [row for row in rows if row["scene"] not in args.scenes or row["fault"] not in args.faults]


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--scenes", nargs="+", choices=tuple(SCENES), default=tuple(SCENES))
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose processes are looked at")
    parser.add_argument("--name", default="disks", help="of the result's file")
    parser.add_argument("--more", action="store_true", help="keep what an earlier run with the same name has found")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each row")
    args = parser.parse_args()
    report = Report(args)
    rows = earlier(report.earlier(args.name).get("rows", []), args) if args.more else []
    for scene in args.scenes:
        for fault in args.faults:
            if (scene, fault) == ("digests", "locked"):
                continue  # they are files
            for row in trial(scene, fault, args.tree.resolve()):
                rows.append(row)
                print(json.dumps(row) if args.json else f"{fault}, {row['of']}: {row['there']}", flush=True)
    if not args.json:
        shown = ["fault", "of", "client sees", "session under way", "there", "lost", "back after s", "log lines"]
        print_table([{name: row[name] for name in shown} for row in rows])
    report.save(args.name, {"rows": rows})
    is_back = [isinstance(row["back after s"], int | float) and row["back after s"] <= BACK_S for row in rows]
    return int(not all(is_back) or any(row["lost"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
