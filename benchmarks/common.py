"""What the benchmarks share: the machine's description, prompts, tables, result files."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
import transformers

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """What a reader needs to know to compare figures."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": date.today().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def prompt_tokens(length: int, number: int) -> list[int]:
    """Token ids of a prompt that is the same in every run, and another for each `number`."""
    return [1000 + (37 * index + 101 * number) % 20_000 for index in range(length)]


def print_table(rows: Sequence[dict[str, object]]) -> None:
    """Columns are the keys of the first row; numbers to three figures."""
    cells = [[_format(value) for value in row.values()] for row in rows]
    header = list(rows[0])
    widths = [max(len(row[column]) for row in [header, *cells]) for column in range(len(header))]
    for row in [header, ["-" * width for width in widths], *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _format(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )


def save_json(name: str, result: dict[str, object]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"saved {path}")
