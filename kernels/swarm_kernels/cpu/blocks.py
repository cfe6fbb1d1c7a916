"""A range of blocks on the CPU kernels: one call for all blocks and all rows of a batch."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from swarm_kernels.batch import Segment, check_segments
from swarm_kernels.block import BlockSpec, BlockWeights
from swarm_kernels.blocks import Cache, RopeTable
from swarm_kernels.cpu.library import (
    ACTIVATIONS,
    ELEMENTS,
    FORMATS,
    BlockView,
    PackedMatrix,
    RangeView,
    StepView,
    address,
    library,
)

PAGE_MULTIPLE = 16  # pages hold a multiple of so many positions
HEAD_MULTIPLE = 16

_TUNING_STEPS = 7
_WORTH_IT = 0.9  # of the time with half as many threads


def supports(spec: BlockSpec, hidden_size: int, intermediate_size: int) -> bool:
    """Whether the kernels can compute such a block."""
    columns = (hidden_size, spec.num_heads * spec.head_dim, intermediate_size)
    return (
        spec.activation in ACTIVATIONS
        and spec.head_dim % HEAD_MULTIPLE == 0
        and all(count % 64 == 0 for count in columns)
    )


@dataclass(frozen=True, slots=True, eq=False)
class CpuBatch:
    """positions: [tokens] int64. pages: [tokens] addresses of the block tables in `tables`, which keeps them alive."""

    positions: np.ndarray
    pages: np.ndarray
    tables: list[np.ndarray]

    @property
    def num_tokens(self) -> int:
        return len(self.positions)


class CpuBlocks:
    """Blocks in one of the packed formats, with activations on the way in and out, and the cache, in `dtype`.

    The bits of a token's output depend on its session's tokens alone: not on what else is in the batch, how its prompt
    was cut, where its pages lie, or how many threads run.
    """

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        weights: Sequence[BlockWeights[PackedMatrix]],
        rope: RopeTable,
        dtype: torch.dtype,
        threads: int,
    ):
        """weights: all of one format, and norms in float32.

        rope: positions [n] int64 -> cos, sin [n, head_dim] float32. Raises ValueError for a dtype other than float32
        and bfloat16, and for blocks that `supports` refuses.
        """
        first = specs[0]
        hidden, inner = weights[0].o.rows, weights[0].gate_up.rows // 2
        if dtype not in ELEMENTS or not all(supports(spec, hidden, inner) for spec in specs):
            raise ValueError(f"the CPU kernels cannot compute these blocks in {dtype}: {first}")
        self.threads = threads
        self._weights, self._rope, self._dtype = weights, rope, dtype
        self._blocks = (BlockView * len(weights))(*map(_view, specs, weights))
        self._range = RangeView(
            format=FORMATS[weights[0].qkv.format],
            cache_type=ELEMENTS[dtype],
            activation=ACTIVATIONS[first.activation],
            norm_eps=first.norm_eps,
            hidden=hidden,
            heads=first.num_heads,
            kv_heads=first.num_kv_heads,
            head_dim=first.head_dim,
            intermediate=inner,
            blocks=self._blocks,
        )
        self._cache: Cache | None = None
        self._cos = self._sin = torch.empty(0, first.head_dim // 2)

    def layout(self, segments: Sequence[Segment], page_size: int) -> CpuBatch:
        """Raises ValueError for an empty batch or segment, a negative start, or too few pages."""
        check_segments(segments, page_size)
        tables = [np.ascontiguousarray(segment.pages, dtype=np.int64) for segment in segments]
        counts = [segment.count for segment in segments]
        return CpuBatch(
            positions=np.concatenate([np.arange(s.start, s.start + s.count) for s in segments]),
            pages=np.repeat(np.array([table.ctypes.data for table in tables], dtype=np.uint64), counts),
            tables=tables,
        )

    def forward(self, hidden: Tensor, batch: CpuBatch, cache: Cache, start: int, stop: int) -> Tensor:
        """Blocks start to stop - 1 of this range on hidden [tokens, hidden_size] -> a new tensor of the same shape.

        cache: each block's pools of keys and values, [pages, page_size, num_kv_heads, head_dim], in `dtype`.
        """
        self._use(cache)
        self._extend_table(int(batch.positions.max()) + 1)
        hidden = hidden.contiguous()
        output = torch.empty_like(hidden)
        step = StepView(
            rows=batch.num_tokens,
            element=ELEMENTS[hidden.dtype],
            input=hidden.data_ptr(),
            output=output.data_ptr(),
            positions=batch.positions.ctypes.data,
            pages=batch.pages.ctypes.data,
            cos=self._cos.data_ptr(),
            sin=self._sin.data_ptr(),
        )
        library().swarm_forward(self._range, start, stop, step, self.threads)
        return output

    def tune(self, cache: Cache, most: int) -> None:
        """Set `threads` to what decodes one token fastest now, at most `most`. Overwrites the pools' first page.

        More threads must earn their keep: where another process wants the cores, two are often slower than one.
        """
        hidden = torch.zeros(1, self._range.hidden, dtype=self._dtype)
        batch = self.layout([Segment([0], 0, 1)], cache[0][0].shape[1])
        best_s, best = float("inf"), 1
        for threads in (count for count in (1, 2, 4, 8, 16, 32, 64) if count <= most):
            self.threads = threads
            times_s = []
            for _ in range(_TUNING_STEPS):
                started = time.perf_counter()
                self.forward(hidden, batch, cache, 0, len(self._weights))
                times_s.append(time.perf_counter() - started)
            if statistics.median(times_s) < _WORTH_IT * best_s:
                best_s, best = statistics.median(times_s), threads
        self.threads = best

    def _use(self, cache: Cache) -> None:
        """Note where the pools lie, unless they are those of the last step."""
        if cache is self._cache:
            return
        shape = (self._range.kv_heads, self._range.head_dim)
        for keys, values in cache:
            for pool in (keys, values):
                if pool.dtype != self._dtype or not pool.is_contiguous() or pool.shape[2:] != shape:
                    raise ValueError(f"a pool of {pool.dtype} {tuple(pool.shape)}; needed is {self._dtype} {shape}")
        page_size = cache[0][0].shape[1]
        if page_size % PAGE_MULTIPLE:
            raise ValueError(f"pages of {page_size} positions; the kernels need a multiple of {PAGE_MULTIPLE}")
        self._range.page_tokens = page_size
        for block, (keys, values) in zip(self._blocks, cache, strict=True):
            block.keys, block.values = keys.data_ptr(), values.data_ptr()
        self._cache = cache

    def _extend_table(self, length: int) -> None:
        """Angles for positions up to `length`; the table doubles, so that they are seldom computed."""
        if length > len(self._cos):
            cos, sin = self._rope(torch.arange(max(2 * len(self._cos), length, 1024)))
            half = cos.shape[1] // 2
            self._cos, self._sin = cos[:, :half].contiguous(), sin[:, :half].contiguous()


def _view(spec: BlockSpec, weights: BlockWeights[PackedMatrix]) -> BlockView:
    return BlockView(
        qkv=weights.qkv.view,
        o=weights.o.view,
        gate_up=weights.gate_up.view,
        down=weights.down.view,
        attn_norm=address(weights.attn_norm),
        mlp_norm=address(weights.mlp_norm),
        q_norm=address(weights.q_norm),
        k_norm=address(weights.k_norm),
        window=spec.window or 0,
    )
