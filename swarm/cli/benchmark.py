"""`python -m swarm benchmark`: tokens per second of a swarm that is there."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from swarm import program
from swarm.cli.parsers.benchmark import make_parser
from swarm.cli.support.clients import generate_options, make_client, warn_of_greedy
from swarm.cli.support.terminal import print_table, run
from swarm.client.client import Client
from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.measure import peers
from swarm.measure.against import Earlier, read_earlier
from swarm.measure.figures import WIDEST, Case, beside
from swarm.measure.machine import described, machine
from swarm.measure.measuring import VOCABULARY, Measured, SwarmEngine, Wanted, measure_all, prompt_tokens
from swarm.measure.page import bullets, code, facts, page, table
from swarm.measure.plan import cases, check_contexts
from swarm.measure.tables import EXPLAINED, as_cells, as_row, number, remarks
from swarm.storage.outputs import write_output
from swarm.version import __version__

Row = dict[str, Any]
_NAME = "the swarm"


@dataclass
class Told:
    """What there is to tell, so far."""

    about: Row
    measured: Measured = field(default_factory=Measured)
    peers: list[Row] = field(default_factory=list)
    cut_short: str = ""  # why not all was measured that was wanted

    @property
    def engines(self) -> list[str]:
        return list(dict.fromkeys(case.engine for case in self.measured.cases))


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, lambda args: _benchmark(args, arguments))


def _benchmark(args: argparse.Namespace, arguments: list[str]) -> None:
    if args.report:
        _check_report(args.report)
    earlier = read_earlier(args.against) if args.against else None
    told, failure = Told(_about(args, arguments)), None
    with ExitStack() as stack:
        engines = _engines(args, stack)
        told.about["revision"] = next(iter(engines.values())).client.parts.checkpoint.revision
        try:
            _measure(engines, args, told)
        except (SwarmError, KeyboardInterrupt) as error:
            if not told.measured.cases:
                raise
            # What took minutes is not lost with what would have come after it.
            told.cut_short, failure = str(error) or "it was interrupted", error
            told.peers = [row for engine in engines.values() for row in peers.describe(engine, is_there=False)]
    if not told.measured.cases:
        raise InvalidRequest("all cases were left out: raise --limit, or ask for fewer sessions or shorter prompts")
    _tell(args, told, earlier)
    if failure:
        raise failure


def _about(args: argparse.Namespace, arguments: list[str]) -> Row:
    return {
        "software": f"swarm-inference {__version__}",
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": program.command("benchmark", *arguments),
        "model": args.model,
        "revision": None,
        "new_tokens": args.max_new_tokens,
        "load_before": round(os.getloadavg()[0], 2),
        "machine": machine(),
    }


def _engines(args: argparse.Namespace, stack: ExitStack) -> dict[str, SwarmEngine]:
    """By name: the swarm, or its peers of each format that is asked for. Raises SwarmError."""
    options = generate_options(args)
    warn_of_greedy(options)
    engines = {}
    for quant in args.quants or [args.quant]:
        asked = argparse.Namespace(**{**vars(args), "quant": quant})
        client: Client = stack.enter_context(make_client(asked, max_concurrent=max(args.sessions)))
        check_contexts(args.contexts, args.max_new_tokens, client.config.max_context, args.model)
        engines[str(quant) if args.quants else _NAME] = SwarmEngine(client, **options)
    return engines


def _measure(engines: Mapping[str, SwarmEngine], args: argparse.Namespace, told: Told) -> None:
    """Figures, and the peers behind them."""
    vocabulary = VOCABULARY
    for name, engine in engines.items():
        _say(f"asking {name} for a first token" if args.quants else "asking the swarm for a first token")
        engine([prompt_tokens(1, 0)], 1)
        vocabulary = min(vocabulary, engine.client.config.vocab_size)
        if engine.processes() is None:
            _say("note: peers run on this machine as other users: what else keeps it busy cannot be told")
    wanted = Wanted(cases(args.sessions, args.contexts), args.max_new_tokens, args.repeats, args.limit, vocabulary)
    measure_all(engines, wanted, _say, told.measured)
    told.peers = [row for engine in engines.values() for row in peers.describe(engine)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- what came of it -------------------------------------------------------------------------------------------------


def _tell(args: argparse.Namespace, told: Told, earlier: Earlier | None) -> None:
    cells = [_cells(case, told, earlier) for case in told.measured.cases]
    notes = [f"* {line}" for line in _remarks(told, earlier)]
    if args.json:
        rows = [_row(case, told, earlier) for case in told.measured.cases]
        found = {"peers": told.peers, "rows": rows, "left_out": told.measured.left_out, "cut_short": told.cut_short}
        print(json.dumps({**told.about, **found}), flush=True)
    else:
        _print([peers.as_cells(row) for row in told.peers])
        print()
        _print(cells)
        print("\n".join(notes), end="\n" if notes else "", flush=True)
    if args.report:
        _write(args.report, _page(told, cells, notes))
        _say(f"saved {args.report}")


def _cells(case: Case, told: Told, earlier: Earlier | None) -> dict[str, str]:
    cells = as_cells(case)
    several = len(told.engines) > 1
    found = {**({"format": case.engine} if several else {}), **{key: cells[key] for key in cells if key != "engine"}}
    if several:
        found[f"times {told.engines[0]}"] = _times(case, told.measured.cases)
    if earlier:
        found[f"times {earlier.name}"] = earlier.cell(case)
    return found


def _row(case: Case, told: Told, earlier: Earlier | None) -> Row:
    base = _base(case, told.measured.cases)
    times = beside(case, base) if base else None
    found = as_row(case)
    if times:
        found["times_first_format"] = {"median": times.median, "quartiles": times.quartiles}
    return found | ({"times_earlier": earlier.times(case)} if earlier else {})


def _times(case: Case, found: Sequence[Case]) -> str:
    """As fast as the first format, in turns. A star: in doubt."""
    base = _base(case, found)
    times = beside(case, base) if base else None
    if not times or not base:
        return "-"
    return number(times.median) + "*" * bool(case.doubts or base.doubts or times.width > WIDEST)


def _base(case: Case, found: Sequence[Case]) -> Case | None:
    """Of another format than the first: what that did with as many sessions and as long prompts."""
    same = [one for one in found if (one.sessions, one.context) == (case.sessions, case.context)]
    return same[0] if same[0].engine == found[0].engine and case is not same[0] else None


def _remarks(told: Told, earlier: Earlier | None) -> list[str]:
    lines = [line.removeprefix(f"{_NAME}, ") for line in remarks(told.measured.cases)]
    lines += earlier.remarks(told.about, told.measured.cases) if earlier else []
    return [*lines, f"cut short: {told.cut_short}"] if told.cut_short else lines


def _print(rows: Sequence[Mapping[str, str]]) -> None:
    print_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows])


def _page(told: Told, cells: Sequence[Mapping[str, str]], notes: Sequence[str]) -> str:
    known = {key.replace("_", " "): value for key, value in told.about.items() if key not in ("command", "machine")}
    known |= {f"client's {name}": value for name, value in described(told.about["machine"]).items()}
    return page(
        f"Tokens per second of a swarm: {told.about['model']}",
        [
            ("", facts(known)),
            ("To repeat it, where this swarm is", code(str(told.about["command"]))),
            ("Peers, and what a token of one session takes there", table([peers.as_cells(row) for row in told.peers])),
            ("Figures", table(cells)),
            ("", "\n\n".join([EXPLAINED, bullets(note.removeprefix("* ") for note in notes)]).strip()),
            ("Left out", bullets(told.measured.left_out)),
        ],
    )


def _check_report(path: Path) -> None:
    """Before minutes are spent. Raises InvalidRequest, UnusableFile."""
    if path.suffix == ".json":
        raise InvalidRequest(f"--report {path}: a report is Markdown, as in FILE.md; --json prints JSON")
    if path.is_file() or path.is_dir():
        raise UnusableFile(f"{path} is there already; choose another name, or move it away")
    if not path.parent.is_dir():
        raise UnusableFile(f"{path.parent} is no folder; make it, or put the report elsewhere")
    if not path.exists():  # else it is a pipe or a device
        _write(path, "")
        path.unlink()


def _write(path: Path, text: str) -> None:
    """Raises UnusableFile."""
    try:
        write_output(path, text)
    except OSError as error:
        raise UnusableFile(f"the report cannot be written to {path}: {error.strerror}") from error
