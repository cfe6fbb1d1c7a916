"""Into how many micro-batches a server divides its decoding sessions, so that the chain's other hops, and the network,
work on some while it works on others. Pure.

Sessions that are computed together travel together, and nothing ever parts them: one batch goes round the chain, and
every hop idles while the others compute and while it is on the wire. Parting them shortens each batch, at every hop,
and costs the part of a batch's time that does not depend on its size (reading the weights) once more.
"""

import math
from collections.abc import Callable

from swarm.route.means import BatchTimes, RunningMean

BUSY = 0.6  # of a round: how long a server may compute when it divides once more
STILL_BUSY = 0.75  # and when it stays with as many as it has
WORTH = 0.25  # seconds that a token must save at this hop, for each second more that the hop computes in a round
_RATE = 0.2  # of the difference, that one batch moves a mean
NEARLY_NOTHING = 0.05  # of a decode batch's time: what rows of background sessions may add to it


class DecodeTimes:
    """What decode batches take here, by their size, as running means. Sizes are grouped by powers of two."""

    def __init__(self) -> None:
        self._means: dict[int, tuple[RunningMean, RunningMean]] = {}  # rows, seconds
        self._times: BatchTimes | None = None  # of these, once they are asked for

    def observe(self, rows: int, seconds: float) -> None:
        size = (rows - 1).bit_length()
        if size not in self._means:
            self._means[size] = RunningMean(_RATE), RunningMean(_RATE)
        mean_rows, mean_s = self._means[size]
        mean_rows.observe(rows)
        mean_s.observe(seconds)
        self._times = None

    def seconds(self, rows: float) -> float:
        """Of a batch of `rows`; 0 if nothing was seen."""
        if not self._means:
            return 0.0
        if self._times is None:
            known = [(mean_rows.value, mean_s.value) for _, (mean_rows, mean_s) in sorted(self._means.items())]
            sizes, times_s = zip((0.0, 0.0), *known, strict=True)
            # For want of better, in proportion below the least that was seen, and above the largest.
            self._times = BatchTimes((*sizes, 2 * sizes[-1]), (*times_s, 2 * times_s[-1]))
        return self._times.seconds(rows)


def micro_batches(sessions: int, batch_s: Callable[[float], float], round_s: float, current: int = 1) -> int:
    """How many micro-batches `sessions` decoding sessions should form; at most one more or less than `current`.

    batch_s: seconds of a batch of so many rows. round_s: seconds from one token of a session to its next.
    Divides further as long as this server would still idle for a part of each round, and as long as it pays: in a chain
    of 1 / WORTH hops, the time that a token saves is that which one of them computes longer.
    """
    count = 1
    while count < sessions:
        more = count + 1
        busy_now_s, busy_s = count * batch_s(sessions / count), more * batch_s(sessions / more)
        saved_s = busy_now_s / count - busy_s / more
        limit_s = (STILL_BUSY if more <= current else BUSY) * round_s
        if busy_s > limit_s or saved_s < WORTH * (busy_s - busy_now_s):
            break
        count = more
    return min(max(count, current - 1), current + 1)


def rows_to_take(waiting: int, sessions: int, count: int) -> int:
    """How many of `waiting` rows go into the next batch, where `sessions` form `count` micro-batches. What is a little
    larger than its share stays whole: a rest of one row would cost nearly as much as a batch."""
    share = math.ceil(sessions / count)
    return waiting if waiting <= 1.5 * share else share


def rows_to_top_up(rows: int, spare: int, batch_s: Callable[[float], float]) -> int:
    """How many of `spare` rows of background sessions may join a decode batch of `rows` others, since that costs those
    nearly nothing: on a GPU the time of a batch is that of reading the weights, however many share it; a processor
    that multiplies row by row shows in `batch_s` that it has nothing to give away.

    batch_s: seconds of a batch of so many rows, as measured; beyond what was seen it grows in proportion.
    """
    limit_s = (1 + NEARLY_NOTHING) * batch_s(rows)
    while spare > 0 and batch_s(rows + spare) > limit_s:
        spare //= 2
    return max(spare, 0) if rows and limit_s else 0
