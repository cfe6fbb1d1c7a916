"""Tokens per second of the swarm against llama.cpp and transformers, in one run.

    python benchmarks/tokens_per_second.py [--duel] [--quick]

Everything runs on this machine: real server processes on loopback, with gRPC, TLS and hashing between them, the demo
model, one compute thread per process. With --peers, the swarm that is there is measured instead of our own servers.
llama.cpp is left out, and that is said, where llama-cpp-python is not installed: `make llama-cpp`.

First the engines take turns with one session each; then each runs all its cases: so many sessions at once, with so long
prompts. Throughputs are tokens over wall time, medians, with quartiles; where others keep the machine busy, or the
spread is large, that is said, and nothing is compared. Writes a report (Markdown), JSON and a plot for each of the two,
beside those of earlier runs. On two quiet cores --duel takes 3 minutes, --quick 6, all of it most of an hour.

To measure a swarm without any of this: python -m swarm benchmark
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psutil
import torch

from harness.report import Report, print_table
from speed import duel, options, page, plot
from speed.engines import NO_LLAMA, Competitor, llama_cpp, local_swarms, say, swarm_there, transformers
from speed.room import fitting, room_for
from swarm.errors import SwarmError
from swarm.measure import peers
from swarm.measure.figures import Case
from swarm.measure.measuring import VOCABULARY, Measured, SwarmEngine, Wanted, measure_all
from swarm.measure.plan import cases
from swarm.measure.tables import as_cells, as_row, remarks


def competitors(args: argparse.Namespace, otherwise: dict[str, list]) -> list[Competitor]:
    """All engines that there are; otherwise: chains where none were asked for."""
    hops, quants = options.chains(args, otherwise)
    if args.peers:
        swarms = [swarm_there(args.model, args.peers, args.quants[0] if args.quants else None)]
    else:
        swarms = local_swarms(hops, quants)
    return swarms if args.model != "demo" else [*swarms, *llama_cpp(), *transformers()]


def left_out(args: argparse.Namespace) -> list[str]:
    """Engines, and why."""
    if args.model != "demo":
        return [f"llama.cpp and transformers: they are compared on the demo model alone, not on {args.model}"]
    return [] if llama_cpp() else [NO_LLAMA]


def in_turns(args: argparse.Namespace, report: Report, vocabulary: int) -> None:
    setting = duel.Setting(args.rounds, min(args.contexts), args.tokens, vocabulary)
    found, route, failure = duel.take_turns(competitors(args, options.IN_TURNS), setting)
    if found:
        turns = len(found[0].runs)
        what = f"{args.model}, one session, context {setting.context}, {args.tokens} new tokens, {turns} turns"
        told = Told("head_to_head", what, found, duel.cells(found), [*left_out(args), *cut_short(failure)], route)
        hand_in(args, report, told, plot.bars, duel.rows(found))
    if failure:
        raise failure


def one_by_one(args: argparse.Namespace, report: Report, vocabulary: int) -> None:
    wanted = Wanted(cases(args.sessions, args.contexts), args.tokens, args.repeats, args.limit, vocabulary)
    measured, route, failure = Measured(left_out=left_out(args)), [], None
    for competitor in competitors(args, options.ONE_BY_ONE):
        say(f"loading {competitor.name}")
        try:
            route += measure_one(competitor, wanted, measured)
        except SwarmError as error:  # the other engines have nothing to do with it
            measured.left_out.append(f"{competitor.name}, what is not there: {error}")
            say(measured.left_out[-1])
        except KeyboardInterrupt as error:
            failure = error
            break
    if found := measured.cases:
        what = f"{args.model}, {args.tokens} new tokens, {args.repeats} runs of each case, engines one after the other"
        missing = [*measured.left_out, *cut_short(failure)]
        told = Told("tokens_per_second", what, found, [as_cells(case) for case in found], missing, route)
        hand_in(args, report, told, plot.lines, [as_row(case) for case in found])
    if failure:
        raise failure


@dataclass(frozen=True)
class Told:
    """name: of the results' files. what: was measured. cells: for tables. peers: of a swarm that was there."""

    name: str
    what: str
    cases: Sequence[Case]
    cells: Sequence[dict[str, str]]
    left_out: Sequence[str]
    peers: Sequence[dict]


def hand_in(args: argparse.Namespace, report: Report, told: Told, draw: Callable, rows: list[dict]) -> None:
    """Table, picture, page and JSON. draw: the picture, of cases and with a title. rows: for JSON."""
    tell(told.cases, told.cells, told.left_out)
    picture = report.draw(draw(told.cases, title(told.what, report, args)), told.name)
    text = page.write(
        report,
        told.what,
        told.cases,
        told.cells,
        plot=picture,
        route=told.peers,
        left_out=told.left_out,
        is_ours=not args.peers,
    )
    report.write(told.name, text)
    report.save(told.name, {"tokens": args.tokens, "rows": rows, "peers": told.peers, "left_out": told.left_out})


def cut_short(failure: BaseException | None) -> list[str]:
    """What is said where not all was measured that was wanted."""
    if failure is None:
        return []
    return [f"whatever would have come after it was cut short: {str(failure) or 'interrupted'}"]


def measure_one(competitor: Competitor, wanted: Wanted, found: Measured) -> list[dict]:
    """One engine, into `found`. Returns the peers of a swarm that was there."""
    memory_bytes = psutil.virtual_memory().total
    kept, reasons = fitting(wanted.cases, wanted.tokens, competitor.element, memory_bytes)
    wanted = replace(wanted, cases=kept)
    with competitor.open(room_for(kept, wanted.tokens)) as engine:
        found.left_out += [f"{competitor.name}, {reason}" for reason in reasons]
        measure_all({competitor.name: engine}, wanted, say, found)
        return peers.describe(engine) if isinstance(engine, SwarmEngine) and not competitor.is_ours else []


def tell(found: Sequence[Case], cells: Sequence[dict[str, str]], missing: Sequence[str]) -> None:
    print_table(cells)
    for line in (*(f"* {remark}" for remark in remarks(found)), *(f"left out: {line}" for line in missing)):
        print(line)


def title(what: str, report: Report, args: argparse.Namespace) -> str:
    threads = "" if args.peers else ", one compute thread per process"  # what others' servers have is not known
    return f"{what}\n{report.where}{threads}\n{report.when}"


def main() -> None:
    args, model = options.parse(__doc__)
    torch.set_num_threads(1)
    vocabulary = min(VOCABULARY, model.vocab_size)
    report = Report(args)
    for line in left_out(args):
        say(f"left out: {line}")
    try:
        in_turns(args, report, vocabulary)
        if not args.duel:
            one_by_one(args, report, vocabulary)
    except SwarmError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
