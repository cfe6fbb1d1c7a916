"""What a command tells that goes on for long: sentences for people, or JSON objects for scripts."""

import json
import sys
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from swarm.cli.support.streams import discard, write_in_time
from swarm.errors import SwarmError

WAIT_S = 1.0  # for a reader


class Events:
    """On standard output, one at a time."""

    def __init__(self, as_json: bool):
        self.as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)

    def tell(self, name: str, text: str | Text, **fields: object) -> None:
        """One event. text: for people; fields: for scripts. If nobody reads it, now or ever again, it goes nowhere:
        what it tells of goes on."""
        if self.as_json:
            told = json.dumps({"event": name, **fields}) + "\n"
        elif isinstance(text, Text):
            with self._console.capture() as captured:
                self._console.print(text)
            told = captured.get()
        else:
            told = f"{text}\n"
        try:
            write_in_time(sys.stdout, told, WAIT_S)
        except OSError:
            discard(sys.stdout.fileno())

    def error(self, error: SwarmError) -> None:
        """Why the command ends; a line on standard error in any case."""
        if self.as_json:
            self.tell("error", "", code=_public_name(error), message=str(error))
        with suppress(OSError):
            write_in_time(sys.stderr, f"error: {error}\n", WAIT_S)


def _public_name(error: SwarmError) -> str:
    """Of the class in swarm.errors that it is, or is a kind of: by that, others know what to do about it."""
    return next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == SwarmError.__module__)
