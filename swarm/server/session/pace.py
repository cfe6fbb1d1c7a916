"""How fast one session's tokens come and go: what the next batch may expect of it."""

import time
from collections.abc import Callable

from swarm.route.means import RunningMean

DECODING_S = 1.0  # a session that sent a single token this recently is in the middle of generating
LATE = 0.25  # of the usual time away, by which a token may be late


class Pace:
    """Of one session. All times are the clock's, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self.last_active = self.served = clock()  # served: when its last slice was computed
        self.away = RunningMean(0.3)  # from an answer's departure to the next token's arrival
        self._answered: float | None = None  # when the last answer left, until the next step arrives
        self._last_count = 0  # tokens of the latest step

    def arrived(self, count: int) -> None:
        """A step of `count` tokens came."""
        self.last_active, self._last_count = self._clock(), count
        if self._answered is not None:
            self.away.observe(self.last_active - self._answered)
            self._answered = None

    def answered(self) -> None:
        """An output left: the next token is now on its way round the chain."""
        self._answered = self.served = self._clock()

    def due(self) -> float | None:
        """By when the next token may be expected; None if it is here, or nothing is known."""
        if self._answered is None or not self.away.value or self._last_count != 1:
            return None
        return self._answered + (1 + LATE) * self.away.value

    def is_decoding(self, now: float) -> bool:
        """Whether its next token is likely to arrive soon."""
        return self._last_count == 1 and now - self.last_active < DECODING_S
