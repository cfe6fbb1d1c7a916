"""Processes that are told to end, in every way in which they are told: are they gone in time, and is nothing left?

    python benchmarks/endings [--trials 20] [--others 5] [--at-once 5] [--json]

Servers with a random model of next to no weights, idle and with four sessions that another server can take over; then
the ledger's service, an auditor, a client and programs with a LocalSwarm. Ctrl-C is typed into a real terminal, and
terminals are closed, where tmux is installed.
"""

import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

import swarm
from endings.others import OTHERS, Other, Outcome, end
from endings.processes import Terminals
from endings.servers import BLOCKS, DRAIN_S, LEAVE_S, Ending, Servers
from endings.ways import WAYS, Way
from harness.report import Report, make_parser, print_table
from harness.tiny import tiny_model

SESSIONS = 4


def row_of_servers(way: Way, sessions: int, endings: Sequence[Ending]) -> dict[str, object]:
    times = [ending.gone_s for ending in endings if ending.gone_s is not None]
    in_time = sum(time_s <= DRAIN_S + LEAVE_S for time_s in times)
    records = Counter(ending.record for ending in endings)
    return {
        "told by": way.name, "sessions": sessions, "trials": len(endings), "gone in time": in_time,
        "longest s": max(times, default=None), "status right": sum(one.status == way.status for one in endings),
        "orphans": sum(len(one.left) for one in endings), "goodbye said": records["goodbye"],
        "expired": records["expired"], "record stayed": records["stayed"],
        "open sessions": sum(one.sessions for one in endings), "texts equal": sum(one.equal for one in endings),
        "statuses": dict(Counter(str(one.status) for one in endings)),
    }  # fmt: skip


def row_of_others(other: Other, told: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    times = [outcome.gone_s for outcome in outcomes if outcome.gone_s is not None]
    return {
        "program": other.name, "told by": told, "trials": len(outcomes), "gone in time": len(times),
        "longest s": max(times, default=None), "status right": sum(outcome.is_right for outcome in outcomes),
        "statuses": dict(Counter(str(outcome.status) for outcome in outcomes)),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="of each way to end a server")
    parser.add_argument("--others", type=int, default=5, metavar="N", help="of each way to end another program")
    parser.add_argument("--at-once", type=int, default=5, metavar="N", help="servers that are told at the same time")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, not as tables")
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="only those whose names contain one of these")
    args = parser.parse_args()
    signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # else all that is started here would ignore it, where this is run by nohup
    report = Report(args)
    servers: list[dict[str, object]] = []
    others: list[dict[str, object]] = []
    raw: list[dict[str, object]] = []

    def save() -> None:
        report.save("endings", {"servers": servers, "others": others, "trials": raw})

    with tiny_model() as model, tempfile.TemporaryDirectory() as folder, Terminals() as terminals:
        if not terminals.are_here:
            print("tmux is not installed: what takes a terminal is left out", file=sys.stderr)
        with Servers(model, Path(folder), SESSIONS) as under_test:
            for way in WAYS:
                is_wanted = not args.ways or any(name in way.name for name in args.ways)
                is_possible = terminals.are_here or not way.is_typed
                for sessions in (0, SESSIONS) if is_wanted and is_possible else ():
                    endings: list[Ending] = []
                    while len(endings) < args.trials:
                        at_once = min(args.at_once, args.trials - len(endings))
                        endings += under_test.end(way, at_once, with_sessions=bool(sessions))
                    raw += [{"way": way.name, "sessions": sessions, **asdict(one)} for one in endings]
                    servers.append(row_of_servers(way, sessions, endings))
                    print(servers[-1], file=sys.stderr, flush=True)
                    save()
        numbers = count()
        with swarm.LocalSwarm(model, [BLOCKS], threads=1) as local:
            for other in OTHERS if args.others else ():
                for told in other.told:
                    if told == "Ctrl-C" and not terminals.are_here:
                        continue
                    outcomes = [end(other, told, model, local.peers, Path(folder), numbers) for _ in range(args.others)]
                    others.append(row_of_others(other, told, outcomes))
                    print(others[-1], file=sys.stderr, flush=True)
                    save()
    if args.json:
        print(json.dumps({"servers": servers, "others": others}))
    else:
        print_table(servers)
        print_table(others)


if __name__ == "__main__":
    main()
