"""`python -m swarm completion SHELL`: a script with which a shell completes what is typed."""

import argparse

import shtab

from swarm.cli import verbs
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import run
from swarm.program import SCRIPT

SHELLS = ("bash", "zsh", "fish")


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _completion)


def make_parser() -> Parser:
    parser = Parser(
        "completion",
        has_settings=False,
        description="Print a script with which a shell completes verbs and options of `swarm`: once a session, as in "
        "source <(swarm completion bash), or kept in a file where the shell looks for such scripts.",
    )
    parser.add_argument("shell", choices=SHELLS, help="which shell: %(choices)s")
    return parser


def _completion(args: argparse.Namespace) -> None:
    print(shtab.complete(whole_parser(), args.shell))


def whole_parser() -> argparse.ArgumentParser:
    """Of the program with all its verbs, as completions see it; it is not parsed with."""
    whole = argparse.ArgumentParser(SCRIPT, allow_abbrev=False)
    whole.add_argument("--version", "-V", action="store_true", help="print the version")
    below = whole.add_subparsers(dest="verb")
    for name, verb in verbs.VERBS.items():
        parser = verb.make_parser()
        below.add_parser(name, help=verb.purpose, parents=[])
        below.choices[name] = parser
    return whole
