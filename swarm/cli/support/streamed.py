"""Text that streams to a terminal, and what comes in between: notes and warnings begin on lines of their own."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from swarm.cli.support.logs import Seldom

_MOST_HELD = 100  # warnings


class Streamed:
    """Standard output and error of one program, which may be the same terminal."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_terminal = sys.stdout.isatty()
        self._is_shared = self._is_terminal and sys.stderr.isatty()
        self._in_line = False
        self._held: list[tuple[logging.Handler, logging.LogRecord]] | None = None  # None: nothing is held back

    def write(self, piece: str) -> None:
        """Of the text. A terminal gets nothing that would be a command to it: the text is strangers'."""
        with self._lock:
            shown = printable(piece) if self._is_terminal else piece
            print(shown, end="", flush=True)
            self._in_line = shown[-1:] != "\n" if shown else self._in_line

    def end_line(self) -> None:
        """The text's last line, if it has not ended."""
        with self._lock:
            if self._in_line:
                print(flush=True)
                self._in_line = False

    def note(self, text: str) -> None:
        """A line on standard error."""
        with self._lock:
            self._break_line()
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def between_lines(self) -> Iterator[None]:
        """Within, what is logged does not end up in the middle of the text's lines."""
        root = logging.getLogger()
        before = list(root.handlers)
        root.handlers[:] = [_OwnLine(self, handler) for handler in before]
        try:
            yield
        finally:
            root.handlers[:] = before

    def begin(self) -> None:
        """Something new was asked for: what is logged of it is new as well, though it was said before."""
        for handler in logging.getLogger().handlers:
            if isinstance(handler, _OwnLine):
                handler.forget()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, what is logged waits: somebody is typing."""
        with self._lock:
            self._held = []
        try:
            yield
        finally:
            with self._lock:
                waiting, self._held = self._held or [], None
                for handler, record in waiting:
                    self.log(handler, record)

    def log(self, handler: logging.Handler, record: logging.LogRecord) -> None:
        """record: which the handler's filters let pass."""
        with self._lock:
            if self._held is None:
                self._break_line()
                handler.emit(record)
            elif len(self._held) < _MOST_HELD:
                self._held.append((handler, record))

    def _break_line(self) -> None:
        """Where the line would be seen in the text."""
        if self._is_shared:
            self.end_line()


class _OwnLine(logging.Handler):
    """Another handler, whose lines have to wait for their turn."""

    def __init__(self, text: Streamed, handler: logging.Handler):
        super().__init__(handler.level)
        self._text, self._handler = text, handler

    def forget(self) -> None:
        for seldom in self._handler.filters:
            if isinstance(seldom, Seldom):
                seldom.forget()

    def emit(self, record: logging.LogRecord) -> None:
        if self._handler.filter(record):
            self._text.log(self._handler, record)


def printable(text: str) -> str:
    """Without control characters, but for line ends and tabs."""
    return "".join(one for one in text if one in "\n\t" or not (one < " " or "\x7f" <= one <= "\x9f"))
