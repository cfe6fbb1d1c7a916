"""The blocks a server serves: hidden states in, hidden states out."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swarm.errors import ModelError
from swarm.model.config.families import ModelConfig
from swarm.model.config.rope import Rope
from swarm.model.weights import Checkpoint, Progress, load_blocks
from swarm_kernels import FORMATS, Backend, Blocks, BlockSpec, Segment, choose_backend


def parse_block_range(text: str) -> tuple[int, int]:
    """ "0:20" -> (0, 20), blocks 0 to 19. Raises ModelError for anything but two whole numbers and a colon."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*", text, re.ASCII)
    if match is None:
        raise ModelError(f"blocks {text!r:.60} are not a range like 0:20 (blocks 0 to 19)")
    return int(match[1]), int(match[2])


def check_ascending(start: int, stop: int) -> None:
    """Raises ModelError for a range that is empty or reversed."""
    if start == stop:
        raise ModelError(f"blocks {start}:{stop} are no blocks: the range ends where it begins")
    if start > stop:
        raise ModelError(f"blocks {start}:{stop} are reversed; did you mean {stop}:{start}?")


def check_block_range(start: int, stop: int, config: ModelConfig) -> None:
    """Raises ModelError for a range that is empty, reversed, or not within the model."""
    check_ascending(start, stop)
    if start < 0 or stop > config.num_blocks:
        raise ModelError(
            f"blocks {start}:{stop} are outside this model, "
            f"which has {config.num_blocks} blocks (0:{config.num_blocks})"
        )


class BlockRange:
    """Blocks start to stop - 1 of a model, ready to compute."""

    def __init__(
        self,
        config: ModelConfig,
        start: int,
        stop: int,
        quant: str,
        dtype: torch.dtype,
        device: torch.device,
        blocks: Blocks[Any],
        numerics_id: str,
    ):
        """See `load`. numerics_id: see swarm_kernels.dispatch.Backend."""
        self.config, self.start, self.stop = config, start, stop
        self.quant, self.dtype, self.device = quant, dtype, device
        self._blocks, self.numerics_id = blocks, numerics_id

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        start: int,
        stop: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        quant: str = "none",
        threads: int | None = None,
        backend: Backend | None = None,
    ) -> "BlockRange":
        """Reads the blocks' tensors and no others, and quantises them one block at a time.

        dtype: of activations, cache, and weights that are not quantised. quant: one of swarm_kernels.QUANTS.
        threads: for the fused CPU kernels; by default as many as torch uses. backend: computes the blocks, instead of
        the best one here. Raises ModelError for a bad range, broken or missing tensors, and a format that does not suit
        them.
        """
        config, device = checkpoint.config, torch.device(device)
        check_block_range(start, stop, config)
        specs = [block_spec(config, index) for index in range(start, stop)]
        backend = backend or choose_backend(
            quant,
            dtype,
            device,
            specs[0],
            config.hidden_size,
            config.intermediate_size,
            threads or torch.get_num_threads(),
        )
        loaded = load_blocks(checkpoint, start, stop, dtype, FORMATS.get(quant), backend.norm_dtype, progress)
        rope = Rope(config.rope, config.head_dim, config.max_context)
        blocks = backend.blocks(specs, loaded, rope, config.max_context)
        return cls(config, start, stop, quant, dtype, device, blocks, backend.numerics_id)

    def layout(self, segments: Sequence[Segment], page_size: int) -> object:
        """What `forward` needs to know of a batch; it holds for any number of calls with the same segments.

        Raises ValueError for an empty batch or segment, a negative start, or too few pages.
        """
        return self._blocks.layout(segments, page_size)

    @property
    def threads(self) -> int:
        """Processors that compute; 0: a GPU does."""
        return self._blocks.threads

    @torch.inference_mode()
    def tune(self, cache: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Find out how many threads are fastest on this machine. For a cache that nobody uses yet."""
        self._blocks.tune(cache, torch.get_num_threads())

    @torch.inference_mode()
    def forward(
        self,
        hidden: Tensor,
        batch: object,
        cache: Sequence[tuple[Tensor, Tensor]],
        start: int | None = None,
        stop: int | None = None,
    ) -> Tensor:
        """hidden [tokens, hidden_size] in the range's dtype -> a new tensor of the same shape.

        batch: what `layout` made. cache: for each block of the whole range its pool of keys and of values, both
        [num_pages, page_size, num_kv_heads, head_dim]; the batch's tokens are appended to them. start, stop: blocks of
        the model, to compute only these of the range.
        """
        start, stop = self.start if start is None else start, self.stop if stop is None else stop
        if not self.start <= start <= stop <= self.stop:
            raise ModelError(f"blocks {start}:{stop} are outside the range {self.start}:{self.stop} held here")
        return self._blocks.forward(hidden, batch, cache, start - self.start, stop - self.start)

    def finish(self) -> None:
        """Wait until everything asked of `forward` is computed: a GPU is still at it when `forward` returns."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def block_spec(config: ModelConfig, index: int) -> BlockSpec:
    return BlockSpec(
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        norm_eps=config.norm_eps,
        activation=config.activation,
        window=config.windows[index],
    )
