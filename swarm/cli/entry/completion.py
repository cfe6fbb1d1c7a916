"""`python -m swarm completion SHELL`: a script with which a shell completes what is typed."""

import argparse
from pathlib import Path

import shtab

from swarm.cli.entry import verbs
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import run
from swarm.program import SCRIPT

SHELLS = ("bash", "zsh", "fish")
LOADED = {  # what to type for it
    "bash": f"source <({SCRIPT} completion bash)",
    "zsh": f"source <({SCRIPT} completion zsh), after compinit",
    "fish": f"{SCRIPT} completion fish | source",
}
# In zsh `source` is not `eval`: without this the script would complete at once, where there is nothing to complete.
_ONLY_EVAL, _EVAL_OR_SOURCE = "if [[ $zsh_eval_context[-1] == eval ]]", "if [[ $zsh_eval_context[-1] == (eval|file) ]]"


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _completion)


def make_parser() -> Parser:
    parser = Parser(
        "completion",
        has_settings=False,
        description="Print a script with which a shell completes verbs, options and their values of the command "
        f"`{SCRIPT}`, for one session by " + "; ".join(f"{LOADED[shell]} (in {shell})" for shell in SHELLS) + "; or "
        "kept in a file where the shell looks for such scripts.",
    )
    parser.add_argument("shell", choices=SHELLS, help=f"{', '.join(SHELLS)}")
    return parser


def _completion(args: argparse.Namespace) -> None:
    print(shtab.complete(whole_parser(), args.shell).replace(_ONLY_EVAL, _EVAL_OR_SOURCE))


def whole_parser() -> argparse.ArgumentParser:
    """Of the program with all its verbs, as completions see it; it is not parsed with."""
    whole = argparse.ArgumentParser(SCRIPT)
    whole.add_argument("--version", "-V", action="store_true", help="print the version")
    below = whole.add_subparsers(dest="verb")
    for name, verb in verbs.VERBS.items():
        below.add_parser(name, help=verb.purpose)
        below.choices[name] = parser = verb.make_parser()
        parser.description = verb.purpose  # the whole of it is too long for a list
        _complete_files(parser)
    return whole


def _complete_files(parser: Parser) -> None:
    for action in parser._actions:
        if action.type is Path or action.metavar == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    for below in parser.verbs().values():
        _complete_files(below)
