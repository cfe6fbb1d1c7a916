"""What all verbs have in common: errors as one line, tables. Imports nothing heavy: some verbs are to start at once."""

import argparse
import errno
import signal
import sys
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.cli.support import logs
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.streams import discard
from swarm.errors import InvalidRequest, SwarmError

_PIPE_COLUMNS = 240


Command = Callable[[argparse.Namespace], int | None]


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, command: Command | None = None) -> int:
    """Carry out `command`, by default the one that `parser` sets as `command`, which may return an exit status; our own
    errors, and files that cannot be used, become a line on standard error and 1; told to end, the command gets a
    KeyboardInterrupt. arguments: None: the process's."""
    logs.set_up()
    try:
        check_text(sys.argv[1:] if arguments is None else arguments)
        args = parser.parse_args(arguments)
        logs.follow(args)
        carry_out: Command = command or args.command
        with SHUTDOWN.interruptible():
            return carry_out(args) or 0
    except SwarmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads this, as in `| head -1`, has read enough
        discard(sys.stdout.fileno())  # else Python complains at exit
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:  # nothing that the user could do something about
            raise
        print(f"error: {error.filename or 'what this writes to'} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return SHUTDOWN.status


def check_text(arguments: Sequence[str]) -> None:
    """Raises InvalidRequest for an argument whose bytes are not UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"{argument!r:.80} is not UTF-8; write it in a terminal that uses UTF-8") from error


def read_text(what: str) -> str:
    """All of standard input. what: is read, as in "the prompt". Raises InvalidRequest if it is not UTF-8."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{what} on standard input is not UTF-8: {error.reason} at byte {error.start}") from error


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On standard output, without lines; where that is no terminal, as wide as need be."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: cells may come from strangers
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False).print(table)
