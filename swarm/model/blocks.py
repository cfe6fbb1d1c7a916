"""The blocks a server serves: hidden states in, hidden states out."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from swarm.errors import ModelError
from swarm.model.families import ModelConfig
from swarm.model.rope import Rope
from swarm.model.weights import Checkpoint, Progress, load_blocks
from swarm_kernels import BlockSpec, BlockWeights, Linear, PagedBatch, decoder_block, rotary_table


def parse_block_range(text: str) -> tuple[int, int]:
    """ "0:20" -> (0, 20), blocks 0 to 19. Raises ModelError for anything but two whole numbers and a colon."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*", text, re.ASCII)
    if match is None:
        raise ModelError(f"blocks {text!r:.60} are not a range like 0:20 (blocks 0 to 19)")
    return int(match[1]), int(match[2])


def check_block_range(start: int, stop: int, config: ModelConfig) -> None:
    """Raises ModelError for a range that is empty, reversed, or not within the model."""
    if start == stop:
        raise ModelError(f"blocks {start}:{stop} are no blocks: the range ends where it begins")
    if start > stop:
        raise ModelError(f"blocks {start}:{stop} are reversed; did you mean {stop}:{start}?")
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
        weights: Sequence[BlockWeights],
        dtype: torch.dtype,
        device: torch.device,
    ):
        self.config = config
        self.start = start
        self.stop = stop
        self.dtype = dtype
        self.device = device
        self._weights = weights
        self._specs = [_block_spec(config, index) for index in range(start, stop)]
        self._rope = Rope(config.rope, config.head_dim, config.max_context)

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        start: int,
        stop: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> "BlockRange":
        """Reads the blocks' tensors and no others. Raises ModelError for a bad range and broken or missing tensors."""
        check_block_range(start, stop, checkpoint.config)
        device = torch.device(device)
        blocks = load_blocks(checkpoint, start, stop, dtype, progress)
        weights = [_block_weights(block, device) for block in blocks]
        return cls(checkpoint.config, start, stop, weights, dtype, device)

    @torch.inference_mode()
    def forward(
        self,
        hidden: Tensor,
        batch: PagedBatch,
        cache: Sequence[tuple[Tensor, Tensor]],
        start: int | None = None,
        stop: int | None = None,
    ) -> Tensor:
        """hidden [tokens, hidden_size] in the range's dtype -> a new tensor of the same shape.

        cache: for each block of the whole range its pool of keys and of values, both [num_pages, page_size,
        num_kv_heads, head_dim]; the batch's tokens are appended to them. start, stop: blocks of the model, to compute
        only these of the range.
        """
        start, stop = self.start if start is None else start, self.stop if stop is None else stop
        if not self.start <= start <= stop <= self.stop:
            raise ModelError(f"blocks {start}:{stop} are outside the range {self.start}:{self.stop} held here")
        blocks = slice(start - self.start, stop - self.start)
        table = rotary_table(*self._rope(batch.positions), self.dtype)
        for weights, spec, pools in zip(self._weights[blocks], self._specs[blocks], cache[blocks], strict=True):
            hidden = decoder_block(hidden, weights, spec, table, batch, pools)
        return hidden


def _block_spec(config: ModelConfig, index: int) -> BlockSpec:
    return BlockSpec(
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        norm_eps=config.norm_eps,
        activation=config.activation,
        window=config.windows[index],
    )


def _block_weights(tensors: dict[str, Tensor], device: torch.device) -> BlockWeights:
    """Takes the tensors, as Checkpoint.load_block returns them, out of the dict: packed ones need not stay."""

    def take(name: str) -> Tensor | None:
        tensor = tensors.pop(name, None)
        return None if tensor is None else tensor.to(device)

    return BlockWeights(
        attn_norm=take("attn_norm"),
        qkv=Linear(take("qkv"), take("qkv_bias")),
        o=Linear(take("o"), take("o_bias")),
        mlp_norm=take("mlp_norm"),
        gate_up=Linear(take("gate_up"), take("gate_up_bias")),
        down=Linear(take("down"), take("down_bias")),
        q_norm=take("q_norm"),
        k_norm=take("k_norm"),
    )
