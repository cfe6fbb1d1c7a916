"""`python -m swarm calibrate`: measure honest peers and cheats on this machine, and set the limits of audits."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from swarm.cli.parsers.calibrate import make_parser
from swarm.cli.support.terminal import Screen, run
from swarm.home import require_home, thresholds_folder
from swarm.model import Checkpoint, open_checkpoint
from swarm.shown import count
from swarm.storage.outputs import write_output
from swarm.verify.audit.calibrating.calibration import (
    HOPS,
    Measured,
    choose,
    measure,
    provenance,
    save_thresholds,
    summarise,
)
from swarm.verify.audit.judging.judgement import SEGMENT
from swarm.verify.audit.judging.thresholds import Thresholds

_VARIANTS = 25  # at a hop, about
_TITLE = "error in parts of the auditor's own noise: medians of windows and of segments"


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _calibrate)


def _calibrate(args: argparse.Namespace) -> None:
    require_home()  # which is to keep the result
    torch.set_num_threads(1)
    checkpoint, dtype = open_checkpoint(args.model, args.revision), getattr(torch, args.dtype)
    measured = _measure(checkpoint, args.quant, dtype, args.tokens // SEGMENT)
    thresholds = choose(measured, provenance(checkpoint, args.quant, dtype))
    path = save_thresholds(thresholds_folder(), thresholds)
    rows = summarise(measured, thresholds)
    result = json.dumps({"thresholds": asdict(thresholds), "variants": rows}, indent=1)
    if args.out:
        write_output(args.out, result + "\n")
    if args.json:
        print(result)
    else:
        _print(rows, thresholds, path)


def _measure(checkpoint: Checkpoint, quant: str, dtype: torch.dtype, segments: int) -> list[Measured]:
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading the model", total=HOPS * _VARIANTS)
        measured = list(
            measure(checkpoint, quant, dtype, segments, lambda name: bar.update(task, advance=1, description=name))
        )
        bar.update(task, completed=HOPS * _VARIANTS, description="measured")
    return measured


def _print(rows: list[dict[str, str | float]], thresholds: Thresholds, path: Path) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title=_TITLE)
    for name in ("peer", "windows", "segments", "outliers", "suspect", "fail"):
        table.add_column(name, justify="left" if name == "peer" else "right", no_wrap=True)
    for row in sorted(rows, key=lambda row: not row["honest"]):
        table.add_row(
            str(row["variant"]),
            f"{_number(row['least'])}-{_number(row['most'])}",
            f"{_number(row['segment least'])}-{_number(row['segment most'])}",
            str(row["outliers"]),
            f"{float(row['suspect %']):.0f}%",
            f"{float(row['fail %']):.0f}%",
            style="green" if row["honest"] else "red",
        )
    console = Screen()
    console.print(table)
    console.print(
        f"A window of 32 tokens is suspect above {thresholds.suspect:.2f} and fails above {thresholds.fail:.2f}; "
        f"a segment of {SEGMENT} is suspect above {thresholds.segment:.2f}.\n"
        f"More than {count(thresholds.outliers, 'token')} of a window, or {thresholds.segment_outliers} of a segment, "
        f"above {thresholds.outlier:.1f} fail it. From {count(thresholds.provenance.trials, 'honest window')}. "
        f"Kept in {path}"
    )


def _number(value: str | float) -> str:
    value = float(value)
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
