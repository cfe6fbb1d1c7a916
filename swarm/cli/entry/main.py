"""What `swarm` and `python -m swarm` do: find the verb, and let it begin. Imports nothing heavy: help, versions and
mistakes are told at once."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from swarm import program
from swarm.cli.entry.verbs import VERBS
from swarm.cli.support import exits, streams
from swarm.cli.support.parser import Parser
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.words import hint
from swarm.version import __version__

_HELP = ("-h", "--help", "help")
_VERSION = ("-V", "--version", "version")
_OWN = ("swarm", "swarm_kernels")  # packages


def main() -> int:
    """The exit status, where no verb was to begin."""
    streams.complete()
    if not sys.argv[1:]:
        print(f"error: say which verb: {', '.join(VERBS)}; see {program.command()} --help", file=sys.stderr)
        return exits.WRONG
    verb, *arguments = sys.argv[1:]
    if verb in _HELP and arguments and arguments[0] in VERBS:
        verb, arguments = arguments[0], [*arguments[1:], "--help"]
    if verb in _HELP and not arguments:
        return _say(_help())
    if verb in _VERSION:
        return _say(f"swarm-inference {__version__}")
    if verb not in VERBS:
        wrong = arguments[0] if verb in _HELP else verb
        listed = hint(wrong, list(VERBS)) or f"; the verbs are {', '.join(VERBS)}"
        print(f"error: unknown verb {wrong!r:.40}{listed}", file=sys.stderr)
        return exits.WRONG
    start(verb, arguments)


def start(verb: str, arguments: Sequence[str]) -> NoReturn:
    """The whole life of the process from here on."""
    SHUTDOWN.listen(arguments)  # first: to import a verb takes seconds
    try:
        status = _carry_out(verb, list(arguments))
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in _OWN:
            raise
        status = exits.FAILED
        print(f"error: the package {missing} is missing: activate the environment that swarm was installed into "
              "(source .venv/bin/activate), or install it there again", file=sys.stderr)  # fmt: skip
    except SystemExit as end:  # --help
        status = end.code if isinstance(end.code, int) else exits.DONE
    SHUTDOWN.leave(status)


def _carry_out(name: str, arguments: list[str]) -> int:
    verb = VERBS[name]
    parser = verb.make_parser()
    arguments = _with_help(parser, arguments)
    if verb.parser != verb.module:  # what is wrong is told before what takes seconds is imported
        wrong: int = import_module("swarm.cli.support.terminal").check(parser, arguments)
        if wrong:
            return wrong
    return verb.run(arguments)


def _with_help(parser: Parser, arguments: list[str]) -> list[str]:
    """`ledger stake help` is `ledger stake --help`."""
    if arguments[-1:] != ["help"]:
        return arguments
    for word in arguments[:-1]:
        if word not in parser.verbs():
            return arguments
        parser = parser.verbs()[word]
    return [*arguments[:-1], "--help"]


def _help() -> str:
    lines = [f"usage: {program.command()} VERB [options]", "", "verbs (each has --help):"]
    lines += [f"  {name:10} {verb.purpose}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", f"Version {__version__}. Exit statuses, settings, completion: docs/command_line.md"])


def _say(text: str) -> int:
    """On standard output; the exit status."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        streams.discard(1)
        return exits.UNREAD
    except OSError as error:
        streams.discard(1)
        print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return exits.FAILED
    return exits.DONE
