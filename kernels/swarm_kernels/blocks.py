"""A range of blocks in torch: what every other implementation must agree with, and the one for float32."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from swarm_kernels.batch import PagedBatch, Segment
from swarm_kernels.block import BlockSpec, BlockWeights, Product, decoder_block
from swarm_kernels.reference import rotary_table

Cache = Sequence[tuple[Tensor, Tensor]]
RopeTable = Callable[[Tensor], tuple[Tensor, Tensor]]


class TorchBlocks:
    """Blocks one after the other, each some dozens of torch's operations."""

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        weights: Sequence[BlockWeights[Product]],
        rope: RopeTable,
        dtype: torch.dtype,
        device: torch.device,
    ):
        """rope: positions [n] int64 -> cos, sin [n, head_dim] float32. dtype: of activations and the cache."""
        self._specs, self._weights, self._rope = specs, weights, rope
        self._dtype, self._device = dtype, device
        self._windows = {spec.window for spec in specs}

    @property
    def threads(self) -> int:
        """Processors that compute, at most; 0: a GPU does."""
        return 0 if self._device.type == "cuda" else torch.get_num_threads()

    def layout(self, segments: Sequence[Segment], page_size: int) -> PagedBatch:
        """Raises ValueError for an empty batch or segment, a negative start, or too few pages."""
        batch = PagedBatch.build(segments, page_size, self._device)
        for group in batch.groups:
            for window in self._windows:
                group.context(window)
        return batch

    def tune(self, cache: Cache, most: int) -> None:
        """torch's threads are the process's own business."""

    def forward(self, hidden: Tensor, batch: PagedBatch, cache: Cache, start: int, stop: int) -> Tensor:
        """Blocks start to stop - 1 of this range on hidden [tokens, hidden_size] -> a new tensor of the same shape.

        cache: each block's pools of keys and values, [pages, page_size, num_kv_heads, head_dim].
        """
        table = rotary_table(*self._rope(batch.positions), self._dtype)
        part = slice(start, stop)
        for weights, spec, pools in zip(self._weights[part], self._specs[part], cache[part], strict=True):
            hidden = decoder_block(hidden, weights, spec, table, batch, pools)
        return hidden
