"""`python -m swarm secret`: a new secret, with which a swarm becomes private."""

import argparse
import json

from swarm.cli.support.arguments import add_json
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import run
from swarm.wire.secret import Secret


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _secret)


def make_parser() -> Parser:
    parser = Parser(
        "secret",
        has_settings=False,
        description="Print a new random secret of 256 bits. Put it into a file that only you can read, give it to the "
        "members of your swarm over a channel that you trust, and start servers and clients with --secret-file FILE or "
        "with SWARM_SECRET set to it: nobody else can join that swarm, read it, or list it.",
    )
    add_json(parser)
    return parser


def _secret(args: argparse.Namespace) -> None:
    secret = Secret.generate()
    print(json.dumps({"secret": secret}) if args.json else secret)
