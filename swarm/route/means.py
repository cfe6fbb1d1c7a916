"""Running means: what something takes lately, and what a batch takes, by how many rows are in it. Pure."""

import bisect
import math
from collections.abc import Sequence

_RATE = 0.1  # of the difference, that one batch corrects
_ELSEWHERE = 0.25  # of that, in sizes other than the batch's: what slows a machine down slows all of them
_MOST = 2.0  # times what was expected, or its inverse, that a batch may count for: processes pause for many reasons


class RunningMean:
    """Exponentially weighted: each observation moves it a part of the way from where it is."""

    __slots__ = ("_fall", "_known", "_rise", "value")

    def __init__(self, rise: float, fall: float | None = None, start: float | None = None):
        """rise, fall: the part of the difference, from 0 to 1, by which what is more or less than the mean moves it;
        `fall` is as `rise` by default. start: without one, what is observed first is the mean."""
        self._rise, self._fall = rise, rise if fall is None else fall
        self._known = start is not None
        self.value = start or 0.0  # 0 until anything is known

    @property
    def is_known(self) -> bool:
        """Whether there was a start, or anything was observed."""
        return self._known

    def observe(self, value: float) -> None:
        if not self._known:
            self.value, self._known = value, True
        else:
            difference = value - self.value
            self.value += (self._rise if difference > 0 else self._fall) * difference

    def fade(self, factor: float) -> None:
        """Take less of what it was for granted: multiply it."""
        self.value *= factor


class BatchTimes:
    """Known for a few sizes, linear between them; no larger batch takes less than a smaller one."""

    def __init__(self, sizes: Sequence[float], times_s: Sequence[float]):
        """sizes: rows, rising. times_s: seconds for as many of these sizes as are known; at least for one."""
        self.sizes, self.times_s = sizes, list(times_s)

    def seconds(self, rows: float) -> float:
        """Of a batch of `rows`. Below the least size that is known it takes as long as that one, and beyond the largest
        the line goes on."""
        sizes, times_s = self.sizes, self.times_s
        if len(times_s) == 1 or rows <= sizes[0]:
            return times_s[0]
        right = min(bisect.bisect_left(sizes, rows), len(times_s) - 1)
        slope = max(times_s[right] - times_s[right - 1], 0.0) / (sizes[right] - sizes[right - 1])
        return times_s[right - 1] + slope * (rows - sizes[right - 1])

    def correct(self, rows: float, seconds: float) -> None:
        """A batch of `rows`, no more than the largest size, took so long: this much of the difference is believed."""
        sizes, times_s = self.sizes, self.times_s
        left = min(bisect.bisect_right(sizes, rows), len(times_s) - 1) - 1
        right_weight = (rows - sizes[left]) / (sizes[left + 1] - sizes[left])
        step = correction(seconds, self.seconds(rows))
        for index in range(len(times_s)):
            weight = {left: 1 - right_weight, left + 1: right_weight}.get(index, 0.0)
            times_s[index] *= step ** max(weight, _ELSEWHERE)
        self._straighten(left + round(right_weight))

    def _straighten(self, observed: int) -> None:
        """What was observed last is right, and the others give way."""
        times_s = self.times_s
        for index in range(observed + 1, len(times_s)):
            times_s[index] = max(times_s[index], times_s[index - 1])
        for index in range(observed - 1, -1, -1):
            times_s[index] = min(times_s[index], times_s[index + 1])


def correction(found_s: float, expected_s: float) -> float:
    """By which to multiply what was expected, once something took `found_s`: a running mean of logarithms."""
    surprise = math.log(found_s / expected_s)
    return math.exp(_RATE * min(max(surprise, -math.log(_MOST)), math.log(_MOST)))
