"""How busy a server is, for its price to follow."""

import math
import time
from collections.abc import Callable

SMOOTHING_S = 60.0  # time constant; with 180 s prices overshoot by some 10 %


class Usage:
    """Smoothed: what was a minute ago counts a third."""

    def __init__(
        self, busy_s: Callable[[], float], places: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ):
        """busy_s: seconds of computation so far. places: share of the room for sessions that is in use."""
        self._busy_s, self._places, self._clock = busy_s, places, clock
        self._last_s, self._last_busy_s, self._smooth = clock(), busy_s(), 0.0

    def share(self) -> float:
        """Of the time or of the places, whichever is larger, 0 to 1: since the last call, and before."""
        now_s, busy_s = self._clock(), self._busy_s()
        passed_s = max(now_s - self._last_s, 1e-3)
        used = max(min((busy_s - self._last_busy_s) / passed_s, 1.0), self._places())
        self._smooth += (1 - math.exp(-passed_s / SMOOTHING_S)) * (used - self._smooth)
        self._last_s, self._last_busy_s = now_s, busy_s
        return self._smooth
