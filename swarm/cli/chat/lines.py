"""Where messages come from that nobody types into a terminal: lines of standard input. A line that ends in a backslash
goes on in the next."""

import io
import sys
from typing import Protocol


class Lines(Protocol):
    """Of one chat."""

    def read(self) -> str | None:
        """The next message, which may have several lines; None at the end."""


class StandardInput:
    """A pipe, a file, or a terminal that can nothing but print."""

    def __init__(self, prompt: str = ""):
        """prompt: printed on standard error before each message."""
        self._prompt = prompt
        # A line that is no text is refused as a prompt, in one line, and not by the decoder.
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")

    def read(self) -> str | None:
        text = ""
        print(self._prompt, end="", file=sys.stderr, flush=True)
        while line := sys.stdin.readline():
            line = line.rstrip("\r\n")
            if not line.endswith("\\"):
                return text + line
            text += line[:-1] + "\n"
        return text or None
