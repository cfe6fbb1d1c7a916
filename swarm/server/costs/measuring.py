"""What blocks take on this machine, by a few steps at the start."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

import torch

from swarm.model.blocks import BlockRange
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.route.costs import BATCHES, PeerCosts
from swarm.server.costs.row_cost import SIZES, row_s
from swarm_kernels import Segment

BUDGET_S = 0.4  # of a processor, for all of it; on slow blocks a few steps more
PATIENCE = 3.0  # times that, by the clock: where others have the processors meanwhile, as when several start together
PREFILL_TOKENS = 128
LEAST_PREFILL_TOKENS = 32  # fewer cost almost as much as more do, and tell little of a long prompt

_RUNS = 3
_STEP = 1 / 64  # of the budget that one step of one session may take
_DECODING = 0.7  # of it, for batches of single tokens


class Took(NamedTuple):
    wall_s: float
    busy_s: float  # for which the computing thread had a processor; of a GPU, all of it


def measure(blocks: BlockRange, pool: PagePool, budget_s: float = BUDGET_S) -> PeerCosts:
    """Decode and prefill times of `blocks`, by a few steps over the first pages of `pool`, which nobody uses yet.

    Smallest batches first, on as many of the blocks as the budget allows: then they still outgrow the processor's
    caches. When it is spent, the larger figures follow from those measured; batches of one and two are always tried.
    """
    depth = blocks.stop - blocks.start
    first_s = _step(blocks, pool, [1], depth).busy_s  # finds cold caches: a guess only
    depth = min(max(round(depth * budget_s * _STEP / first_s), 1), depth)
    budget = _Budget(budget_s * _DECODING)
    took: dict[int, Took] = {}
    for batch in (*BATCHES, SIZES[-1]):
        if len(took) < 2 or budget.left_s() > 0:
            took[batch] = _block(blocks, pool, [1] * batch, depth, budget)
    decode_s = plausible([took[batch].wall_s for batch in BATCHES if batch in took])
    sizes = list(took)
    costs = PeerCosts(decode_s, row_s=row_s(sizes, plausible([one.busy_s for one in took.values()], sizes)))
    budget.add(budget_s * (1 - _DECODING))
    affordable = budget.left_s() / (costs.prefill_block_s() * depth)
    tokens = min(PREFILL_TOKENS, pool.num_pages * PAGE_TOKENS, int(affordable))
    if tokens < LEAST_PREFILL_TOKENS:
        return costs
    prefill_s = _block(blocks, pool, [tokens], depth, budget).wall_s / tokens
    return replace(costs, prefill_s=min(prefill_s, 2 * costs.prefill_block_s()))  # the same, if nothing held it up


class _Budget:
    """What may be taken of a processor, or, where that is short, of time."""

    def __init__(self, busy_s: float):
        self._busy_s, self._spent_s, self._started = busy_s, 0.0, time.perf_counter()

    def add(self, busy_s: float) -> None:
        self._busy_s += busy_s

    def spend(self, took: Took) -> None:
        self._spent_s += took.busy_s

    def left_s(self) -> float:
        """Below zero: nothing is left."""
        late_s = time.perf_counter() - self._started - PATIENCE * self._busy_s
        return min(self._busy_s - self._spent_s, -late_s)


def _block(blocks: BlockRange, pool: PagePool, counts: Sequence[int], depth: int, budget: _Budget) -> Took:
    """For one block: by the least of _RUNS steps, or of as many as there is budget for.

    Other processes only ever add to it; if they always do, real batches will tell soon enough.
    """
    took: list[Took] = []
    while not took or (len(took) < _RUNS and took[-1].busy_s < budget.left_s()):
        took.append(_step(blocks, pool, counts, depth))
        budget.spend(took[-1])
    return Took(min(one.wall_s for one in took) / depth, min(one.busy_s for one in took) / depth)


def _step(blocks: BlockRange, pool: PagePool, counts: Sequence[int], depth: int) -> Took:
    """A step through the first `depth` blocks, of sessions with so many new tokens each.

    They share pages: more would take memory that the server may never need, and what is in them does not matter.
    """
    pages = list(range(min(pool.num_pages, -(-PREFILL_TOKENS // PAGE_TOKENS))))
    last = PAGE_TOKENS - 1  # as a session's first page holds it: attention over a short context
    segments = [Segment(pages, last if count == 1 else 0, count) for count in counts]
    hidden = torch.zeros(sum(counts), blocks.config.hidden_size, dtype=blocks.dtype, device=blocks.device)
    batch = blocks.layout(segments, PAGE_TOKENS)
    blocks.finish()
    started, busy = time.perf_counter(), time.thread_time()
    blocks.forward(hidden, batch, pool.tensors, blocks.start, blocks.start + depth)
    blocks.finish()
    wall_s = time.perf_counter() - started
    return Took(wall_s, time.thread_time() - busy if blocks.device.type == "cpu" else wall_s)


def plausible(times_s: Sequence[float], sizes: Sequence[int] = BATCHES) -> tuple[float, ...]:
    """Times of batches of so many rows: none longer than that of a larger batch, nor, by row, than that of the size
    before. Where it is, something else than its size held it up."""
    kept = list(times_s)
    for index in range(1, len(kept)):
        kept[index] = min(kept[index], kept[index - 1] * sizes[index] / sizes[index - 1])
    return tuple(accumulate(reversed(kept), min))[::-1]
