"""`python -m swarm benchmark`: tokens per second of a swarm that is there."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from swarm import program
from swarm.cli.parsers.benchmark import make_parser
from swarm.cli.support.clients import generate_options, make_client, warn_of_greedy
from swarm.cli.support.terminal import print_table, run
from swarm.errors import UnusableFile
from swarm.measure import peers
from swarm.measure.figures import Case
from swarm.measure.machine import described, machine
from swarm.measure.measuring import VOCABULARY, Measured, SwarmEngine, Wanted, measure_all, prompt_tokens
from swarm.measure.page import bullets, code, facts, page, table
from swarm.measure.plan import cases, check_contexts
from swarm.measure.tables import EXPLAINED, as_cells, as_row, remarks
from swarm.version import __version__

Row = dict[str, object]
_NAME = "the swarm"


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, lambda args: _benchmark(args, arguments))


def _benchmark(args: argparse.Namespace, arguments: list[str]) -> None:
    if args.report:
        _check_report(args.report)
    started, load = datetime.now().astimezone(), os.getloadavg()[0]
    with make_client(args, max_concurrent=max(args.sessions)) as client:
        check_contexts(args.contexts, args.max_new_tokens, client.config.max_context, args.model)
        options = generate_options(args)
        warn_of_greedy(options)
        engine = SwarmEngine(client, **options)
        measured, route = _measure(engine, args)
    about = {
        "software": f"swarm-inference {__version__}",
        "date": started.isoformat(timespec="seconds"),
        "command": program.command("benchmark", *arguments),
        "model": args.model,
        "revision": client.parts.checkpoint.revision,
        "load before": round(load, 2),
        "machine": machine(),
    }
    _tell(args, measured, route, about)


def _check_report(path: Path) -> None:
    """Before minutes are spent. Raises UnusableFile."""
    if path.exists():
        raise UnusableFile(f"{path} is there already; choose another name, or move it away")
    if not path.parent.is_dir():
        raise UnusableFile(f"{path.parent} is no folder; make it, or put the report elsewhere")


def _measure(engine: SwarmEngine, args: argparse.Namespace) -> tuple[Measured, list[Row]]:
    """Figures, and the peers behind them."""
    client = engine.client
    _say("asking the swarm for a first token")
    engine([prompt_tokens(1, 0)], 1)
    if engine.processes() is None:
        _say("note: peers run on this machine as other users: what else keeps it busy cannot be told")
    wanted = Wanted(
        cases(args.sessions, args.contexts),
        args.max_new_tokens,
        args.repeats,
        args.limit,
        min(VOCABULARY, client.config.vocab_size),
    )
    return measure_all(_NAME, engine, wanted, _say), peers.describe(engine)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell(args: argparse.Namespace, measured: Measured, route: list[Row], about: Row) -> None:
    found = measured.cases
    rows = [{key: value for key, value in as_row(case).items() if key != "engine"} for case in found]
    if args.report:
        args.report.write_text(_page(measured, route, about))
    if args.json:
        print(json.dumps({**about, "peers": route, "rows": rows, "left_out": measured.left_out}))
        return
    _print([peers.as_cells(row) for row in route])
    print()
    _print([_cells(case) for case in found])
    for line in remarks(found):
        print(f"* {line}")
    if args.report:
        print(f"saved {args.report}")


def _cells(case: Case) -> dict[str, str]:
    return {key: value for key, value in as_cells(case).items() if key != "engine"}


def _print(rows: Sequence[Mapping[str, str]]) -> None:
    print_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows])


def _page(measured: Measured, route: list[Row], about: Row) -> str:
    known = {key: value for key, value in about.items() if key not in ("command", "machine")} | described(machine())
    return page(
        f"Tokens per second of a swarm: {about['model']}",
        [
            ("", facts(known)),
            ("To repeat it", code(str(about["command"]))),
            ("Peers, and what a token of one session takes there", table([peers.as_cells(row) for row in route])),
            ("Figures", table([_cells(case) for case in measured.cases])),
            ("", "\n\n".join([EXPLAINED, bullets(remarks(measured.cases))])),
            ("Left out", bullets(measured.left_out)),
        ],
    )
