"""What a command tells that goes on for long: sentences for people, or JSON objects for scripts."""

import json
import sys

from rich.console import Console
from rich.text import Text

from swarm.cli.support.shutdown import discard
from swarm.errors import SwarmError


class Events:
    """On standard output, one at a time."""

    def __init__(self, as_json: bool):
        self.as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)

    def tell(self, name: str, text: str | Text, **fields: object) -> None:
        """One event. text: for people; fields: for scripts. If nobody reads it any more, it goes nowhere: what it tells
        of goes on."""
        try:
            if self.as_json:
                print(json.dumps({"event": name, **fields}), flush=True)
            elif isinstance(text, Text):
                self._console.print(text)
            else:
                print(text, flush=True)
        except OSError:
            discard(sys.stdout.fileno())

    def error(self, error: SwarmError) -> None:
        """Why the command ends; a line on standard error in any case."""
        if self.as_json:
            self.tell("error", "", code=type(error).__name__, message=str(error))
        print(f"error: {error}", file=sys.stderr)
