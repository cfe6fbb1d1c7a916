"""What `python -m swarm demo` takes. Imports nothing heavy."""

from swarm.cli.parsers.words import SERVED_DTYPES
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json
from swarm.cli.support.parser import Parser

RANGES = ((0, 10), (10, 20), (20, 30))


def make_parser() -> Parser:
    parser = Parser(
        "demo",
        description="Start servers on this machine, generate through them, pay them, and stop them. The ledger is in "
        "a folder of its own, and gone afterwards.",
    )
    add = parser.add_argument
    add("--blocks", nargs="+", type=parsing.blocks, default=RANGES, metavar="START:STOP",
        help="of each server (default: 0:10 10:20 20:30)")  # fmt: skip
    add("--dtype", default="float32", choices=SERVED_DTYPES, help="of activations and weights (default: float32)")
    add("--max-new-tokens", type=parsing.count, default=48, metavar="N", help="(default: 48)")
    add_json(parser, "print one JSON object at the end")
    return parser
