"""What every benchmark has: the same options, a description of the run, tables, and a folder for its results."""

import argparse
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.options import folder
from harness.shelf import Shelf, command_line
from swarm.measure.machine import machine
from swarm.measure.measuring import prompt_tokens as prompt_tokens
from swarm.measure.tables import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parents[1]
OUTPUT = HERE / "out"  # not in the repository
COMMITTED = HERE / "results"  # of earlier runs, in the repository: written to only when told


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Of a benchmark whose module has the docstring `doc`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=folder,
        default=OUTPUT,
        metavar="FOLDER",
        help=f"for results, beside those of earlier runs (default: {OUTPUT.relative_to(HERE.parent)}, which git "
        f"ignores; in {COMMITTED.relative_to(HERE.parent)}, they take the place of the earlier ones)",
    )
    return parser


class Report:
    """The results of one run of a benchmark, in a folder. What is there from an earlier run stays, but in the
    repository's own results."""

    def __init__(self, args: argparse.Namespace):
        """args: of a parser from `make_parser`."""
        self.machine = machine()
        options = {name: value for name, value in vars(args).items() if name != "output"}
        self.run: dict[str, object] = {
            "commit": commit(),
            "command": command_line(),
            "options": options,
            "load": round(os.getloadavg()[0], 2),
            "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        }
        self._shelf = Shelf(args.output, self.run, replaces=args.output.resolve() == COMMITTED)

    @property
    def where(self) -> str:
        """For the title of a plot."""
        return f"{self.machine['cores']} cores: {self.machine['processor']}"

    @property
    def when(self) -> str:
        """Likewise."""
        return f"{self.run['date']}, commit {self.run['commit']}, load {self.run['load']} before"

    def save(self, name: str, result: Mapping[str, object]) -> None:
        """As JSON, with what a reader needs to know to compare figures."""
        text = json.dumps({"machine": self.machine, "run": self.run, **result}, indent=1, default=str)
        self._write(name, ".json", text + "\n")

    def write(self, name: str, page: str) -> None:
        """As Markdown."""
        self._write(name, ".md", page)

    def draw(self, figure: "Figure", name: str) -> str:
        """Returns the file's name."""
        path = self._shelf.path(name, ".png")
        figure.savefig(path, dpi=150)
        print(f"saved {path}")
        return path.name

    def earlier(self, name: str) -> dict[str, object]:
        """What an earlier run left in the folder; nothing, if there was none."""
        path = self._shelf.latest(name)
        found = json.loads(path.read_text()) if path else {}
        return {key: value for key, value in found.items() if key not in ("machine", "run")}

    def _write(self, name: str, suffix: str, text: str) -> None:
        path = self._shelf.path(name, suffix)
        path.write_text(text)
        print(f"saved {path}")


def commit(tree: Path = HERE) -> str:
    """Of the checkout; "-dirty" behind it if something was changed since."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Columns are the keys of the first row; numbers to three figures."""
    cells = [[_format(value) for value in row.values()] for row in rows]
    if not rows:
        return
    header = list(rows[0])
    widths = [max(len(row[column]) for row in [header, *cells]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _format(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
