"""What `python -m swarm benchmark` takes. Imports nothing heavy."""

import argparse

from swarm.cli.parsers.clients import add_client_arguments
from swarm.cli.parsers.words import QUANTS
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json
from swarm.cli.support.parser import Parser
from swarm.errors import InvalidRequest
from swarm.measure.plan import LEAST_TOKENS, check_tokens
from swarm.storage.files import expanded

TOKENS = 48
LIMIT_S = 120.0


def make_parser() -> Parser:
    parser = Parser(
        "benchmark",
        usage="{prog} [options]",
        description="Measure how many tokens per second a swarm gives: for so many sessions at once, with so long "
        "prompts. The peers are asked for real work, at their price if they have one.",
    )
    add = parser.add_argument
    add("--sessions", type=parsing.count, nargs="+", metavar="N", default=[1, 8], help="at once (default: 1 8)")
    add("--contexts", type=parsing.count, nargs="+", metavar="N", default=[128], help="tokens of each prompt (default: "
        "128)")  # fmt: skip
    add("--repeats", type=parsing.count, metavar="N", default=5, help="runs of each case (default: 5)")
    add("--limit", type=parsing.some_seconds, metavar="S", default=LIMIT_S,
        help="leave out cases of which one run would take longer (default: %(default).0f)")  # fmt: skip
    add("--report", type=expanded, metavar="FILE.md", help="also write the figures there")
    add("--quants", nargs="+", choices=QUANTS, metavar="FORMAT", help="formats to compare, in turns")
    add("--against", type=expanded, metavar="FILE.json", help="compare with what --json printed earlier")
    add_json(parser, "print one JSON object at the end")
    add_client_arguments(parser, TOKENS, least_new_tokens=LEAST_TOKENS)
    parser.must(_check)
    return parser


def _check(args: argparse.Namespace) -> None:
    """Raises InvalidRequest."""
    if args.quants and args.quant:
        raise InvalidRequest("--quant and --quants both say which format; give one of them")
    if args.quants and len(set(args.quants)) < len(args.quants):
        raise InvalidRequest("--quants names a format twice")
    check_tokens(args.max_new_tokens)
