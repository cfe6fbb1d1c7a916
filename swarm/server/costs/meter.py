"""What a block takes on this server: measured at the start, and from then on by every batch it computes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from swarm.route.costs import BATCHES, PeerCosts
from swarm.route.means import BatchTimes, RunningMean, correction
from swarm.server.costs.measuring import LEAST_PREFILL_TOKENS
from swarm.server.costs.row_cost import RowCost
from swarm.server.costs.step_cost import StepCost
from swarm.server.session.steps import Slice

QUEUE_HALF_LIFE_S = 30.0  # of the mean wait, when nothing is computed
_QUEUE_RATE = 0.1  # of the difference, that one batch moves the mean wait


class Meter:
    """Running means of what batches take. Lives in the event loop."""

    def __init__(self, start: PeerCosts, clock: Callable[[], float] = time.monotonic, step: StepCost | None = None):
        """start: what `measure` found. step: what a step takes outside the blocks."""
        self._start, self.step = start, step or StepCost(start.threads)
        self._decode = BatchTimes(BATCHES, [start.decode_block_s(batch) for batch in BATCHES])
        self._row = RowCost(start)
        self._prefill_s = start.prefill_block_s()
        self._queue = RunningMean(_QUEUE_RATE, start=0.0)
        self._clock, self._faded_s = clock, clock()

    def costs(self) -> PeerCosts:
        """The present means."""
        self._fade_queue()
        return replace(
            self._start,
            decode_s=tuple(self._decode.times_s),
            prefill_s=self._prefill_s,
            queue_s=self._queue.value,
            step_s=self.step.value_s,
            row_s=self._row.value_s,
        )

    def observe_batch(self, batch: Sequence[Slice], started: float, compute_s: float, processor_s: float) -> None:
        """The scheduler computed `batch` in `compute_s` seconds, from `started` on (time.perf_counter()). processor_s:
        for which the computing thread had a processor."""
        decode_sessions, prefill_tokens, waits_s = 0, 0, 0.0
        ranges = set()
        for item in batch:
            ranges.add((item.session.reservation.start, item.session.reservation.stop))
            if len(item.work.hidden) == 1:
                decode_sessions += 1
                waits_s += started - item.work.arrived
            else:
                prefill_tokens += item.count
        self.step.observe(len(batch), not prefill_tokens, processor_s)
        start, stop = ranges.pop()
        blocks = 0 if ranges else stop - start
        self.observe(decode_sessions, prefill_tokens, blocks, compute_s, waits_s / max(decode_sessions, 1))
        if blocks and not prefill_tokens:
            self._row.observe(decode_sessions, (processor_s if self._start.threads else compute_s) / blocks)

    def observe(self, decode_sessions: int, prefill_tokens: int, blocks: int, compute_s: float, queue_s: float) -> None:
        """One batch was computed.

        blocks: that its tokens passed; 0 if not all passed the same. queue_s: mean wait of its decoding sessions.
        What a block takes is learned from batches of one kind only: nobody knows which part of a mixed one took how
        long. Nor do batches larger than the largest announced tell anything of that one.
        """
        if decode_sessions:
            self._fade_queue()
            self._queue.observe(min(queue_s, 10 * self._queue.value + 0.01))
        if not blocks:
            return
        block_s = max(compute_s / blocks, 1e-9)
        if not prefill_tokens and 1 <= decode_sessions <= BATCHES[-1]:
            self._decode.correct(decode_sessions, block_s)
        elif not decode_sessions and prefill_tokens >= LEAST_PREFILL_TOKENS:
            self._prefill_s *= correction(block_s / prefill_tokens, self._prefill_s)

    def _fade_queue(self) -> None:
        now_s = self._clock()
        self._queue.fade(0.5 ** ((now_s - self._faded_s) / QUEUE_HALF_LIFE_S))
        self._faded_s = now_s
