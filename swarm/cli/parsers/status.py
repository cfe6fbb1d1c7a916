"""What `python -m swarm status` takes. Imports nothing heavy."""

from swarm.cli.support import parsing
from swarm.cli.support.arguments import LEDGER, add_json, add_members, add_model_name
from swarm.cli.support.parser import Parser

INTERVAL_S = 2.0


def make_parser() -> Parser:
    parser = Parser(
        "status",
        description="Show who serves which blocks of a model, how busy and how fast. In a terminal the view is live "
        "until Ctrl-C, SIGTERM or SIGHUP; elsewhere it is printed once. The model's files are not needed.",
    )
    add_model_name(parser, "(default: the demo model, or what the swarm serves instead) ", default=None)
    add_members(parser)
    add = parser.add_argument
    add("--once", action="store_true", help="print once and end")
    add_json(parser, "print a JSON object; with --interval, one per look")
    add(
        "--wait",
        type=parsing.seconds,
        metavar="S",
        help="until all blocks are served, S seconds at most: else the exit status is 3",
    )
    add("--ledger", metavar="WHERE", help=f"to show what peers have at stake there: {LEDGER} (default: SWARM_LEDGER)")
    add(
        "--interval",
        type=parsing.some_seconds,
        metavar="S",
        help=f"seconds between two looks (default: {INTERVAL_S:.0f})",
    )
    return parser
