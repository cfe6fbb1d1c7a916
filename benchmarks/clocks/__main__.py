"""A swarm in which one machine's clock is off: does everything hold that goes by time?

    python benchmarks/clocks [--who client hop ledger] [--seconds 2 5 60 600 86400] [--json]

For each, a ledger's service, a paid swarm of three servers, and a client that audits what it gets, all processes of
their own; the clock of one of them is off from the start (see harness/shifted_clock.c), or is set by five minutes, and
back, while a session goes on. A line says whether the text is that of a swarm without, whether receipts verify, audits
pass, and every nano-credit is settled; else, which error came, and how many lines it had.

--liars: nodes of the directory instead, each at an address of its own, of which some say that it is nine minutes later
or earlier: how far off that is the time of one that comes, and of those that were there.

Of an older checkout, in its folder: PYTHONPATH=.:kernels python THIS/benchmarks/clocks --before
"""

import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

from clocks.trials import SECONDS, WHO, trials
from harness.report import Report, make_parser, print_table


def _with_liars():
    return import_module("clocks.liars").with_liars()  # an older checkout has not what it needs


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--who", nargs="+", choices=WHO, default=list(WHO))
    parser.add_argument(
        "--seconds", nargs="+", type=float, default=list(SECONDS), help="that a clock is off, both ways"
    )
    parser.add_argument("--liars", action="store_true", help="the table of liars instead")
    parser.add_argument("--before", action="store_true", help="keep the results as those of an older checkout")
    parser.add_argument("--json", action="store_true", help="each result as it comes")
    args = parser.parse_args()
    report, rows = Report(args), []
    for found in _with_liars() if args.liars else trials(args.who, args.seconds):
        rows.append(found)
        if args.json:
            print(json.dumps(found), flush=True)
    print_table(rows)
    report.save(
        "clocks", report.earlier("clocks") | {"liars" if args.liars else "before" if args.before else "after": rows}
    )


if __name__ == "__main__":
    main()
