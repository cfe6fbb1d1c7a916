"""The house in figures: the token's path, counted while it runs, and the code's shape, with bars for both.

    python benchmarks/house [--against COMMIT or PATH] [--check] [--shape-only] [--save FILE]

Before is what benchmarks/results/house-before.json keeps, or what is measured now of another checkout. The token's path
takes two minutes; see token_path.py for what is counted. The exit status of --check is 1 if a bar is broken.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import shape
import token_path
from shape import EXEMPT
from table import AREA_BARS, Row, offenders, rows

ROOT = Path(__file__).parents[2]
BEFORE = ROOT / "benchmarks" / "results" / "house-before.json"
KEPT = 25  # of each ranking


def measure(tree: Path, commit: str, shape_only: bool) -> dict:
    """As the JSON keeps it."""
    found: dict = {"commit": commit, "shape": asdict(shape.look(tree)), "paths": {}}
    kinds = [] if shape_only else ["free", "paid"]
    if kinds and signs_if_asked(tree):
        kinds.insert(0, "unsigned")
    for kind in kinds:
        path = token_path.measure(tree, kind)
        imports = shape.imports_of(tree, path.files, token_path.OPTIONAL)
        found["paths"][kind] = {**path.as_json(), "import_lines": imports}
    return found


def signs_if_asked(tree: Path) -> bool:
    """Whether servers of `tree` can leave receipts out."""
    return any("--no-receipts" in path.read_text() for path in (tree / "swarm").rglob("*.py"))


@contextmanager
def checkout(what: str) -> Iterator[tuple[Path, str]]:
    """The folder and the commit of `what`: a folder, or a commit, which is unpacked somewhere for a while."""
    if Path(what).is_dir():
        yield Path(what).resolve(), commit_of(Path(what))
        return
    archive = subprocess.run(["git", "archive", what], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
        yield Path(folder).resolve(), what


def commit_of(tree: Path) -> str:
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip() or "unknown"


def show(before: dict, now: dict, table: list[Row]) -> None:
    lines = [("", before["commit"], now["commit"], "bar", "")]
    lines += [
        (row.what, *map(in_words, (row.before, row.now, row.bar)), "" if row.holds else "broken") for row in table
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for what, names in offenders(now):
        print(f"\n{what}")
        print("\n".join(f"  {name}" for name in names))
    for name, why in EXEMPT.items():
        print(f"\nheld to no bar of a class: {name}, {why}")


def in_words(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def kept(found: dict) -> dict:
    """What is worth keeping of `found`: of each ranking the head."""
    head = {name: value[:KEPT] if isinstance(value, list) else value for name, value in found["shape"].items()}
    head["largest"] = {area: largest(found, area) for area in AREA_BARS}
    return {**found, "shape": head}


def largest(found: dict, area: str) -> dict:
    return next(one for one in found["shape"]["files"] if one["name"].startswith(f"{area}/"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", default=str(ROOT), help="the checkout to look at (default: this one)")
    parser.add_argument("--against", metavar="COMMIT", help="measure this commit, or checkout, instead of what is kept")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is broken")
    parser.add_argument("--shape-only", action="store_true", help="nothing is started")
    parser.add_argument("--save", type=Path, metavar="FILE", help="what was measured of the checkout, as JSON")
    args = parser.parse_args()
    with checkout(args.tree) as (tree, commit):
        now = kept(measure(tree, commit, args.shape_only))
    if args.against:
        with checkout(args.against) as (tree, commit):
            before = kept(measure(tree, commit, args.shape_only))
    else:
        before = json.loads(BEFORE.read_text()) if BEFORE.exists() else now
    if args.save:
        args.save.write_text(json.dumps(now, indent=1) + "\n")
    table = rows(before, now)
    show(before, now, table)
    return int(args.check and not all(row.holds for row in table))


if __name__ == "__main__":
    sys.exit(main())
