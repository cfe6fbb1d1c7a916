"""Decode steps in fixed buffers: batches padded to a bucket, so that a step can be captured once and replayed.

Without a GPU the same buffers are filled and computed, only not captured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import triton
from torch import Tensor

from swarm_kernels.triton.launch import Pools
from swarm_kernels.triton.layout import TritonBatch, Work

BUCKETS = (1, 2, 4, 8, 16)

Run = Callable[[Tensor, TritonBatch, Sequence[Pools], range], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """The graph that computes `out` from a step's buffers, and the pools whose addresses it holds."""

    graph: torch.cuda.CUDAGraph
    out: Tensor
    pools: tuple[Pools, ...]


@dataclass(slots=True, eq=False)
class Step:
    """The buffers of one bucket."""

    hidden: Tensor
    batch: TritonBatch
    recorded: Recorded | None = None

    @classmethod
    def allocate(cls, bucket: int, hidden: Tensor, batch: TritonBatch, table_width: int, splits: int) -> "Step":
        def zeros(like: Tensor, *shape: int) -> Tensor:
            return like.new_zeros(bucket, *shape)

        rows = torch.arange(bucket, dtype=torch.int32, device=hidden.device)
        fixed = replace(
            batch,
            positions=zeros(batch.positions),
            slots=zeros(batch.slots),
            cos=zeros(batch.cos, batch.cos.shape[1]),
            sin=zeros(batch.sin, batch.sin.shape[1]),
            table=zeros(batch.table, table_width),
            decode=Work(rows, torch.ones_like(rows), rows),
            splits=splits,
        )
        return cls(zeros(hidden, hidden.shape[1]), fixed)

    def fill(self, hidden: Tensor, batch: TritonBatch) -> None:
        """Rows after the batch's have position -1 and no slot: nothing is read or appended for them."""
        count = batch.num_tokens
        self.batch.positions.fill_(-1)
        self.batch.slots.fill_(-1)
        self.hidden[:count] = hidden
        self.batch.positions[:count] = batch.positions
        self.batch.slots[:count] = batch.slots
        self.batch.cos[:count] = batch.cos
        self.batch.sin[:count] = batch.sin
        self.batch.table[:count, : batch.table.shape[1]] = batch.table


_Key = tuple[int, int, range, tuple[int, ...]]  # bucket, splits, blocks, addresses of the pools of keys


class DecodeSteps:
    """Runs batches in which every segment is one token, at most 16 of them."""

    def __init__(self, run: Run, max_context: int, page_size: int, capture: bool):
        self._run = run
        self._table_width = triton.cdiv(triton.cdiv(max_context, page_size), 16) * 16
        self._capture = capture
        self._steps: dict[_Key, Step] = {}

    def __call__(self, hidden: Tensor, batch: TritonBatch, pools: Sequence[Pools], blocks: range) -> Tensor:
        """Raises ValueError for a context longer than max_context."""
        if batch.table.shape[1] > self._table_width:
            raise ValueError(f"a table of {batch.table.shape[1]} pages, but sessions have at most {self._table_width}")
        bucket = next(size for size in BUCKETS if size >= batch.num_tokens)
        # Programs for splits that a batch does not have return at once, but thousands of them still take time.
        splits = triton.next_power_of_2(batch.splits)
        key = (bucket, splits, blocks, tuple(pool.keys.data_ptr() for pool in pools))
        if key not in self._steps:
            self._steps[key] = Step.allocate(bucket, hidden, batch, self._table_width, splits)
        step = self._steps[key]
        step.fill(hidden, batch)
        if not self._capture:
            return self._run(step.hidden, step.batch, pools, blocks)[: batch.num_tokens].clone()
        if step.recorded is None:
            step.recorded = self._record(step, pools, blocks)
        step.recorded.graph.replay()
        return step.recorded.out[: batch.num_tokens].clone()

    def _record(self, step: Step, pools: Sequence[Pools], blocks: range) -> "Recorded":
        """The first run compiles kernels, which a capture does not allow; it appends what the replay appends again."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._run(step.hidden, step.batch, pools, blocks)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = self._run(step.hidden, step.batch, pools, blocks)
        return Recorded(graph, out, tuple(pools))
