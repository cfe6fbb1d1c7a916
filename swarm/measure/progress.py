"""How far a measurement is: on standard error, one line a step, or one that changes in a terminal."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from swarm.measure.plan import duration

_ERASE = "\r\x1b[K"


class Progress:
    """Of steps that take about as long as each other, unless it is said how long they take."""

    def __init__(
        self,
        expected_s: float,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """expected_s: how much work there is, in any unit in which steps are told."""
        self._stream, self._clock = stream or sys.stderr, clock
        self._left, self._done = expected_s, 0.0
        self._started_s = clock()
        self._live = self._stream.isatty()

    def step(self, text: str, work: float = 1.0) -> None:
        """`text` begins, which is so much of the work."""
        self._say(text + self._estimate())
        self._left -= work
        self._done += work

    def over(self) -> None:
        """All is done: nothing is left on a terminal."""
        if self._live:
            self._stream.write(_ERASE)
            self._stream.flush()

    def _estimate(self) -> str:
        """Of all that is left, by what was done so far."""
        if not self._done:
            return ""
        return f", about {duration((self._clock() - self._started_s) / self._done * self._left)} to go"

    def _say(self, text: str) -> None:
        self._stream.write(f"{_ERASE}{text}" if self._live else f"{text}\n")
        self._stream.flush()
