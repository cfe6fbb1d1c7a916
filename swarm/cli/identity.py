"""`python -m swarm identity`: digests of a model's weights, or this machine's keys. Imports only what was asked for:
keys need no model."""

import argparse
from importlib import import_module

from swarm.cli import keys
from swarm.cli.parsers.identity import make_parser
from swarm.cli.support.terminal import run

_DIGESTS = "swarm.cli.digests"  # which imports torch


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _identity)


def _identity(args: argparse.Namespace) -> None:
    if args.verb:
        keys.COMMANDS[args.verb](args)
    else:
        import_module(_DIGESTS).show(args)
