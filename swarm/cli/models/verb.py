"""`python -m swarm models`: how many blocks of a model fit into how much memory, and what they would earn."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from swarm.cli.models.fit import Cache, formats
from swarm.cli.models.machine import given, here
from swarm.cli.models.report import Report, as_json, as_markdown, print_report
from swarm.cli.models.shape import Shape, read_shape
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json, add_members, check_positive
from swarm.cli.support.terminal import run
from swarm.errors import InvalidRequest, ModelError, PeerUnreachable, PrivateSwarm
from swarm.home import find_swarm, peers_from_environment
from swarm.model.checkpoint import model_name
from swarm.wire.secret import find_secret
from swarm_kernels import QUANTS

if TYPE_CHECKING:
    from swarm.cli.models.earning import Market

KV_MEMORY = 1 << 30  # as a server has it by default
SIZES = tuple(gib << 30 for gib in (4, 8, 16, 24, 48, 80))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm models",
        usage="python -m swarm models [options] MODEL [MODEL ...]",
        description="How large a model's blocks are in each format, how many of them a server with so much memory "
        "takes, and what they earn at the prices of a swarm. Reads configs and headers, no weights.",
    )
    add = parser.add_argument
    known = "Hugging Face repository, folder, .gguf file, config.json, or 'demo'"
    add("models", nargs="+", metavar="MODEL", help=known)
    add("--revision", metavar="REV", help="branch, tag or commit of a Hugging Face repository")
    add("--quant", nargs="+", choices=QUANTS, default=QUANTS, metavar="FORMAT", help=f"of {', '.join(QUANTS)} (all)")
    sizes = "for blocks and cache, as --memory of a server (default: 4G to 80G, and 80%% of what is free here)"
    add("--memory", nargs="+", type=parsing.size, metavar="SIZE", help=sizes)
    add("--kv-memory", type=parsing.size, metavar="SIZE", help="of that, for keys and values (default: 1G)")
    add("--context", type=int, metavar="TOKENS", help="say for how many sessions of this length the cache has room")
    add("--sessions", type=int, metavar="N", help="make room for so many of them, in place of --kv-memory")
    add_members(parser)
    add_json(parser)
    add("--markdown", action="store_true", help="one table of blocks for a page, without this machine and prices")
    return run(parser, arguments, _models)


def _models(args: argparse.Namespace) -> int:
    cache = _cache(args)
    check_positive(memory=min(args.memory or SIZES))
    places = [given(size) for size in args.memory or SIZES]
    if not (args.memory or args.markdown):
        places += here()
    shapes, troubles = _read(args.models, args.revision)
    markets: Mapping[str, Market] = {}
    if shapes and not args.markdown:
        try:
            markets = _markets(args, list(shapes))
        except (PeerUnreachable, PrivateSwarm) as error:
            troubles.append(str(error))
    rows = list(formats(args.quant))
    reports = [Report.of(shape, rows, places, cache, markets.get(model)) for model, shape in shapes.items()]
    if args.json:
        print(json.dumps({"models": [as_json(report) for report in reports]}))
    elif args.markdown:
        print(as_markdown(reports))
    else:
        for place, report in enumerate(reports):
            print("\n" if place else "", end="")
            print_report(report)
    sys.stdout.flush()
    for trouble in troubles:
        print(f"error: {trouble}", file=sys.stderr)
    return 1 if troubles else 0


def _cache(args: argparse.Namespace) -> Cache:
    """What the arguments say of keys and values. Raises InvalidRequest."""
    check_positive(kv_memory=args.kv_memory, context=args.context, sessions=args.sessions)
    if args.sessions and not args.context:
        raise InvalidRequest(f"--sessions {args.sessions}: how long are they? Add --context TOKENS")
    if args.sessions and args.kv_memory:
        raise InvalidRequest("--sessions and --kv-memory both say how large the cache is; give one of them")
    return Cache(args.kv_memory or KV_MEMORY, args.context, args.sessions)


def _read(models: Sequence[str], revision: str | None) -> tuple[dict[str, Shape], list[str]]:
    """By the models' names in the directory; and what is wrong with them."""
    shapes, troubles = {}, []
    for model in models:
        try:
            shape = shapes[model_name(model)] = read_shape(model, revision)
        except ModelError as error:
            troubles.append(str(error))
        else:
            troubles += [shape.trouble] if shape.trouble else []
    return shapes, troubles


def _markets(args: argparse.Namespace, models: Sequence[str]) -> "Mapping[str, Market]":
    """Raises PeerUnreachable, PrivateSwarm for a swarm that was asked for; without one at hand, there are none."""
    secret = find_secret(file=args.secret_file)
    is_asked_for = bool(args.peers or peers_from_environment())
    try:
        addresses = find_swarm(args.peers, secret)
        from swarm.cli.models.earning import ask  # noqa: PLC0415 - a second that most need not wait

        return ask(addresses, secret, models)
    except (PeerUnreachable, PrivateSwarm):
        if is_asked_for:
            raise
        return {}
