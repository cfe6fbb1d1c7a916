"""What every benchmark has: the same options, a description of the run, tables, and a folder for its results."""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import torch
import transformers
from matplotlib.figure import Figure

HERE = Path(__file__).parents[1]
OUTPUT = HERE / "out"  # not in the repository
COMMITTED = HERE / "results"  # of earlier runs, in the repository: written to only when told
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "f16c", "fma")  # that kernels ask for


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Of a benchmark whose module has the docstring `doc`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="FOLDER",
        help=f"for JSON and plots (default: {OUTPUT.relative_to(HERE.parent)}, which git ignores)",
    )
    return parser


class Report:
    """The results of one run of a benchmark, in a folder. What is there from an earlier run is written over."""

    def __init__(self, args: argparse.Namespace):
        """args: of a parser from `make_parser`."""
        self.folder: Path = args.output
        self._machine = machine()
        options = {name: value for name, value in vars(args).items() if name != "output"}
        load, today = os.getloadavg()[0], date.today().isoformat()
        self._run = {"commit": commit(), "options": options, "load": load, "date": today}

    @property
    def where(self) -> str:
        """For the title of a plot."""
        return f"{self._machine['cores']} cores: {self._machine['processor']}"

    def save(self, name: str, result: Mapping[str, object]) -> None:
        """As JSON, with what a reader needs to know to compare figures."""
        text = json.dumps({"machine": self._machine, "run": self._run, **result}, indent=1, default=str)
        self._path(f"{name}.json").write_text(text + "\n")
        print(f"saved {self.folder / name}.json")

    def draw(self, figure: Figure, name: str) -> None:
        figure.savefig(self._path(f"{name}.png"), dpi=150)
        print(f"saved {self.folder / name}.png")

    def earlier(self, name: str) -> dict[str, object]:
        """What an earlier run left in the folder; nothing, if there was none."""
        path = self.folder / f"{name}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        return {key: value for key, value in found.items() if key not in ("machine", "run")}

    def _path(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name


def machine() -> dict[str, object]:
    """What computed the figures."""
    about = _cpuinfo()
    known = about.get("flags", "").split()
    return {
        "processor": about.get("model name", platform.processor() or "unknown"),
        "flags": [flag for flag in FLAGS if flag in known],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def commit(tree: Path = HERE) -> str:
    """Of the checkout; "-dirty" behind it if something was changed since."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def prompt_tokens(length: int, number: int) -> list[int]:
    """Token ids of a prompt that is the same in every run, and another for each `number`."""
    return [1000 + (37 * index + 101 * number) % 20_000 for index in range(length)]


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
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
