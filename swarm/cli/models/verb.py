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
from swarm.cli.parsers.models import make_parser
from swarm.cli.support import exits
from swarm.cli.support.terminal import run
from swarm.errors import InvalidRequest, ModelError, PeerUnreachable, PrivateSwarm
from swarm.home import find_swarm, peers_from_environment
from swarm.model.names import model_name
from swarm.wire.secret import find_secret

if TYPE_CHECKING:
    from swarm.cli.models.earning import Market

KV_MEMORY = 1 << 30  # as a server has it by default
SIZES = tuple(gib << 30 for gib in (4, 8, 16, 24, 48, 80))


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _models)


def _models(args: argparse.Namespace) -> int:
    cache = _cache(args)
    places = [given(size) for size in args.memory or SIZES]
    if not (args.memory or args.markdown):
        places += here()
    shapes, troubles = _read(args.models, args.revision)
    status = exits.FAILED if troubles else exits.DONE
    markets: Mapping[str, Market] = {}
    if shapes and not args.markdown:
        try:
            markets = _markets(args, list(shapes))
        except (PeerUnreachable, PrivateSwarm) as error:
            troubles.append(str(error))
            status = status or exits.status_of(error)
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
    return status


def _cache(args: argparse.Namespace) -> Cache:
    """What the arguments say of keys and values. Raises InvalidRequest."""
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
