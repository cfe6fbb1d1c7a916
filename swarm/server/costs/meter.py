"""What a block takes on this server: measured at the start, and from then on by every batch it computes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import torch

from swarm.model.blocks import BlockRange
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.route.costs import BATCHES, PeerCosts
from swarm.route.means import BatchTimes, RunningMean, correction
from swarm.server.costs.step_cost import StepCost
from swarm.server.session.steps import Slice
from swarm_kernels import Segment

BUDGET_S = 0.25  # for measuring at the start; on slow blocks a few steps more
PREFILL_TOKENS = 128
LEAST_PREFILL_TOKENS = 32  # fewer cost almost as much as more do, and tell little of a long prompt
QUEUE_HALF_LIFE_S = 30.0  # of the mean wait, when nothing is computed

_RUNS = 3
_STEP = 1 / 40  # of the budget that one step of one session may take
_QUEUE_RATE = 0.1  # of the difference, that one batch moves the mean wait


def measure(blocks: BlockRange, pool: PagePool, budget_s: float = BUDGET_S) -> PeerCosts:
    """Decode and prefill times of `blocks`, by a few steps over the first pages of `pool`, which nobody uses yet.

    Smallest batches first, on as many of the blocks as the budget allows: then they still outgrow the processor's
    caches. When it is spent, the larger figures follow from those measured; batches of one and two are always tried.
    """
    depth = blocks.stop - blocks.start
    first_s = _step_s(blocks, pool, [1], depth)  # finds cold caches: a guess only
    depth = min(max(round(depth * budget_s * _STEP / first_s), 1), depth)
    started = time.perf_counter()
    decode_s: list[float] = []
    for batch in BATCHES:
        if len(decode_s) < 2 or time.perf_counter() < started + budget_s / 2:
            decode_s.append(_block_s(blocks, pool, [1] * batch, depth, started + budget_s / 2))
    costs = PeerCosts(plausible(decode_s))
    affordable = (started + budget_s - time.perf_counter()) / (costs.prefill_block_s() * depth)
    tokens = min(PREFILL_TOKENS, pool.num_pages * PAGE_TOKENS, int(affordable))
    if tokens < LEAST_PREFILL_TOKENS:
        return costs
    prefill_s = _block_s(blocks, pool, [tokens], depth, started + budget_s) / tokens
    return PeerCosts(costs.decode_s, min(prefill_s, 2 * costs.prefill_block_s()))  # the same, if nothing held it up


def _block_s(blocks: BlockRange, pool: PagePool, counts: Sequence[int], depth: int, deadline: float) -> float:
    """Seconds for one block: by the fastest of _RUNS steps, or of as many as end before `deadline` (perf_counter).

    Other processes only ever add to it; if they always do, real batches will tell soon enough.
    """
    times_s = [_step_s(blocks, pool, counts, depth)]
    while len(times_s) < _RUNS and time.perf_counter() + times_s[-1] < deadline:
        times_s.append(_step_s(blocks, pool, counts, depth))
    return min(times_s) / depth


def _step_s(blocks: BlockRange, pool: PagePool, counts: Sequence[int], depth: int) -> float:
    """Seconds for a step through the first `depth` blocks, of sessions with so many new tokens each.

    They share pages: more would take memory that the server may never need, and what is in them does not matter.
    """
    pages = list(range(min(pool.num_pages, -(-PREFILL_TOKENS // PAGE_TOKENS))))
    last = PAGE_TOKENS - 1  # as a session's first page holds it: attention over a short context
    segments = [Segment(pages, last if count == 1 else 0, count) for count in counts]
    hidden = torch.zeros(sum(counts), blocks.config.hidden_size, dtype=blocks.dtype, device=blocks.device)
    batch = blocks.layout(segments, PAGE_TOKENS)
    blocks.finish()
    started = time.perf_counter()
    blocks.forward(hidden, batch, pool.tensors, blocks.start, blocks.start + depth)
    blocks.finish()
    return time.perf_counter() - started


class Meter:
    """Running means of what batches take. Lives in the event loop."""

    def __init__(self, start: PeerCosts, clock: Callable[[], float] = time.monotonic, step: StepCost | None = None):
        """start: what `measure` found. step: what a step takes outside the blocks."""
        self._start, self.step = start, step or StepCost(start.threads)
        self._decode = BatchTimes(BATCHES, [start.decode_block_s(batch) for batch in BATCHES])
        self._prefill_s = start.prefill_block_s()
        self._queue = RunningMean(_QUEUE_RATE, start=0.0)
        self._clock, self._faded_s = clock, clock()

    def costs(self) -> PeerCosts:
        """The present means."""
        self._fade_queue()
        times_s, step_s = tuple(self._decode.times_s), self.step.value_s
        return replace(
            self._start, decode_s=times_s, prefill_s=self._prefill_s, queue_s=self._queue.value, step_s=step_s
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


def plausible(times_s: Sequence[float]) -> tuple[float, ...]:
    """None longer than that of a larger batch, nor than two batches of half the size: where it is, something else than
    its size held it up."""
    halves = accumulate(times_s, lambda half_s, whole_s: min(whole_s, 2 * half_s))
    return tuple(accumulate(reversed(list(halves)), min))[::-1]
