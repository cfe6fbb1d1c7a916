"""What tokens_per_second.py takes, and what cannot be meant: told before anything is loaded."""

import argparse

from harness.options import count, seconds
from harness.report import make_parser
from speed.room import BLOCKS
from swarm.errors import SwarmError
from swarm.measure.plan import LEAST_TOKENS, check_contexts
from swarm.model import open_checkpoint
from swarm.model.config.families import ModelConfig
from swarm.wire.hosts import check_peer_address
from swarm_kernels import QUANTS

FULL = {"sessions": [1, 8, 64], "contexts": [128, 2000, 8000], "tokens": 48, "repeats": 3, "rounds": 9}
QUICK = {"sessions": [1, 8], "contexts": [128], "tokens": 32, "repeats": 3, "rounds": 3}
IN_TURNS = {"hops": [2], "quants": ["int8", "int4"]}
ONE_BY_ONE = {"hops": [1, 2], "quants": ["none", "int8", "int4"]}


def parser(doc: str) -> argparse.ArgumentParser:
    made = make_parser(doc)
    add = made.add_argument
    add("--duel", action="store_true", help="only one session on each engine in turn, with the shortest context")
    add("--quick", action="store_true", help="less of all: 1 and 8 sessions, context 128, three runs")
    add("--hops", type=count, nargs="+", metavar="N", help="peers of the swarm's chains (in turns: 2; else 1 2)")
    add("--quants", nargs="+", choices=QUANTS, metavar="FORMAT",
        help=f"of the swarm's weights: {', '.join(QUANTS)} (in turns: int8 int4; else none int8 int4)")  # fmt: skip
    add("--sessions", type=count, nargs="+", metavar="N", help="at once (1 8 64)")
    add("--contexts", type=count, nargs="+", metavar="N", help="tokens of each session's prompt (128 2000 8000)")
    add("--tokens", type=count, metavar="N", help="new tokens of each session (48)")
    add("--repeats", type=count, metavar="N", help="runs of each case (3)")
    add("--rounds", type=count, metavar="N", help="turns of each engine (9)")
    add("--limit", type=seconds, metavar="S", default=60.0, help="leave out cases of which one run would take longer, "
        "and say so (%(default).0f)")  # fmt: skip
    add("--peers", nargs="+", metavar="ADDR", help="measure the swarm that is there, in place of our own servers")
    add("--model", default="demo", help="of that swarm; other engines only know the demo model (demo)")
    return made


def parse(doc: str) -> tuple[argparse.Namespace, ModelConfig]:
    """What was typed, with what goes without saying; and the model. Ends the process if it cannot be meant."""
    made = parser(doc)
    args = made.parse_args()
    if wrong := _contradiction(args):
        made.error(wrong)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    try:
        for address in args.peers or ():
            check_peer_address(address)
        config = open_checkpoint(args.model).config
        check_contexts(args.contexts, args.tokens, config.max_context, args.model)
    except SwarmError as error:
        made.error(str(error))
    return args, config


def _contradiction(args: argparse.Namespace) -> str:
    """What is asked for and would count for nothing, or cannot be."""
    if args.duel and (args.sessions or args.repeats):
        return "--duel is one session in turns: leave out --sessions and --repeats, or --duel; --rounds says how often"
    if args.model != "demo" and not args.peers:
        return "--model is of a swarm that is there: say with --peers where, or leave it out for the demo model"
    if args.peers and (args.hops or len(args.quants or []) > 1):
        return "--peers is a swarm that is there: leave out --hops, and name at most one format in --quants"
    if args.hops and max(args.hops) > BLOCKS:
        return f"--hops {max(args.hops)}: the demo model has {BLOCKS} blocks, and each peer takes one at least"
    if args.tokens and args.tokens < LEAST_TOKENS:
        return f"--tokens {args.tokens} are too few to tell a speed by; {LEAST_TOKENS} are the least"
    return ""


def chains(args: argparse.Namespace, otherwise: dict[str, list]) -> tuple[list[int], list[str]]:
    """Hops and formats of the swarms; otherwise: where nothing was said."""
    return args.hops or otherwise["hops"], args.quants or otherwise["quants"]
