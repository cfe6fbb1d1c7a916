"""The Triton kernels behind the interface of swarm_kernels.dispatch."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from swarm_kernels.batch import Segment
from swarm_kernels.block import BlockSpec
from swarm_kernels.quant import QuantWeight
from swarm_kernels.triton.blocks import TritonRange, TritonWeights
from swarm_kernels.triton.layout import Rope, TritonBatch

Cache = Sequence[tuple[Tensor, ...]]


class TritonBlocks:
    """A TritonRange that learns the size of pages from its first batch."""

    threads = 0

    def __init__(self, specs: Sequence[BlockSpec], weights: Sequence[TritonWeights], rope: Rope, max_context: int):
        self._specs, self._weights, self._rope, self._max_context = specs, weights, rope, max_context
        self._range: TritonRange | None = None

    def layout(self, segments: Sequence[Segment], page_size: int) -> TritonBatch:
        if self._range is None or self._range.page_size != page_size:
            self._range = TritonRange(self._specs, self._weights, self._rope, page_size, self._max_context)
        return self._range.layout(segments)

    def forward(self, hidden: Tensor, batch: TritonBatch, cache: Cache, start: int, stop: int) -> Tensor:
        if self._range is None:
            raise ValueError("a batch that was not laid out here")
        return self._range.forward(hidden, batch, cache, start, stop)

    def tune(self, cache: Cache, most: int) -> None:
        """A GPU's threads are not ours to choose."""


class TritonBackend:
    """For NVIDIA GPUs."""

    numerics_id = ""  # the kernels are written for equal bits, but no GPU has confirmed it yet

    def __init__(self, dtype: torch.dtype, device: torch.device):
        self.norm_dtype = dtype
        self._device = device

    def blocks(
        self,
        specs: Sequence[BlockSpec],
        loaded: Iterable[dict[str, Tensor | QuantWeight]],
        rope: Rope,
        max_context: int,
    ) -> TritonBlocks:
        weights = [TritonWeights.pack(tensors, self._device) for tensors in loaded]
        return TritonBlocks(specs, weights, rope, max_context)
