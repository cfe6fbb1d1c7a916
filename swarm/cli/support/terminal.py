"""What all verbs have in common: errors as one line, tables. Imports nothing heavy: some verbs are to start at once."""

import argparse
import errno
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.cli.settings.reading import parse
from swarm.cli.support import exits, logs
from swarm.cli.support.events import Events
from swarm.cli.support.parser import Parser
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.streams import discard
from swarm.errors import SwarmError, UnusableFile

_PIPE_COLUMNS = 240
_NOT_TAKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what was printed, by a disk or a terminal


Command = Callable[[argparse.Namespace], int | None]


def run(parser: Parser, arguments: Sequence[str] | None, command: Command | None = None) -> int:
    """Carry out `command`, by default the one that `parser` sets as `command`, which may return an exit status; our own
    errors, and files that cannot be used, become a line on standard error and a status of swarm.cli.support.exits; told
    to end, the command gets a KeyboardInterrupt. arguments: None: the process's."""
    logs.set_up()

    def work() -> int:
        args = parse(parser, sys.argv[1:] if arguments is None else arguments)
        logs.follow(args)
        carry_out: Command = command or args.command
        with SHUTDOWN.interruptible():
            return carry_out(args) or exits.DONE

    return _attended(work, lambda error: say_error(str(error)))


def check(parser: Parser, arguments: Sequence[str]) -> int:
    """The exit status if the arguments are wrong, which is told; 0 if not."""

    def work() -> int:
        parse(parser, arguments)
        return exits.DONE

    tells_events = parser.tells_events and "--json" in arguments
    return _attended(work, Events(True).error if tells_events else lambda error: say_error(str(error)))


def _attended(work: Callable[[], int], tell: Callable[[SwarmError], None]) -> int:
    """The exit status of `work`, whatever becomes of it."""
    try:
        try:
            return work()
        except SwarmError as error:
            tell(error)
            return exits.status_of(error)
    except OSError as error:
        return _status_of(error)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal was closed
            print(file=sys.stderr, flush=True)
        return SHUTDOWN.status


def _status_of(error: OSError) -> int:
    """With which a program ends that this ends. Raises it, if it is not one that the user could do something about."""
    if error.filename is None:
        if not isinstance(error, BrokenPipeError) and error.errno not in _NOT_TAKEN:
            raise error
        if SHUTDOWN.is_hung_up():  # the signal that says so is on its way
            return SHUTDOWN.status
        discard(sys.stdout.fileno())  # else Python complains at exit, or the end of the process fails on it again
    if isinstance(error, BrokenPipeError):
        return exits.UNREAD
    say_error(f"{error.filename or 'what this writes to'} cannot be used: {error.strerror or error}")
    return exits.FAILED


class Screen(Console):
    """Rich's own ends the process, with a status of its own, where nobody reads any more."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def say_error(text: str) -> None:
    """In one line, whatever it is made of: what a terminal would obey is written out."""
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in " ".join(text.split()))
    print(f"error: {line}", file=sys.stderr)


def read_text(what: str) -> str:
    """All of standard input. what: is read, as in "the prompt". Raises UnusableFile if it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{what} on standard input is not UTF-8: {error.reason} at byte {error.start}") from error


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On standard output, without lines; where that is no terminal, as wide as need be."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: cells may come from strangers
    Screen(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
