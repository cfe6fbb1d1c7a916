"""What a row takes of a processor in one block, in batches as large as a busy swarm has: by this its room is known.

Processor seconds, not seconds: where other processes have the processors meanwhile, a batch takes longer and costs no
more.
"""

from collections.abc import Sequence

from swarm.route.costs import BATCHES, PeerCosts
from swarm.route.means import BatchTimes

SIZES = (*BATCHES, 32, 64)  # rows of a batch, the last those of a busy server


class RowCost:
    """Learned from every batch."""

    def __init__(self, start: PeerCosts):
        """start: as measured. Where its `row_s` is not known, it follows from the times of batches."""
        times_s = [start.decode_block_s(size) for size in SIZES]
        scale = start.row_s * SIZES[-1] / times_s[-1] if start.row_s else 1.0
        self._times = BatchTimes(SIZES, [seconds * scale for seconds in times_s])

    @property
    def value_s(self) -> float:
        return self._times.times_s[-1] / SIZES[-1]

    def observe(self, rows: int, busy_s: float) -> None:
        """A batch of so many single tokens took so much of a processor in each block."""
        if 1 <= rows <= SIZES[-1]:
            self._times.correct(rows, max(busy_s, 1e-9))


def row_s(sizes: Sequence[int], busy_s: Sequence[float]) -> float:
    """By what a few sizes took: the line goes on to the largest of SIZES."""
    return BatchTimes(sizes, busy_s).seconds(SIZES[-1]) / SIZES[-1]
