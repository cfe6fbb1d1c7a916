"""A range of decoder blocks on a GPU: seven kernels a block, decode steps as CUDA graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_kernels.batch import Segment
from swarm_kernels.block import BlockSpec
from swarm_kernels.quant import QuantWeight
from swarm_kernels.triton.decode import BUCKETS, DecodeSteps
from swarm_kernels.triton.launch import (
    ACTIVATIONS,
    Pools,
    Stream,
    attend,
    multiply,
    multiply_gated,
    rotate_and_append,
    widen,
)
from swarm_kernels.triton.layout import Rope, TritonBatch
from swarm_kernels.triton.weights import PackedWeight, pack, split_rows


@dataclass(frozen=True, slots=True, eq=False)
class TritonWeights:
    """The tensors of a block as the kernels read them; see BlockWeights for what they are."""

    attn_norm: Tensor
    qkv: PackedWeight
    o: PackedWeight
    mlp_norm: Tensor
    gate: PackedWeight
    up: PackedWeight
    down: PackedWeight
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None

    @classmethod
    def pack(
        cls, tensors: Mapping[str, Tensor | QuantWeight | None], device: torch.device | str = "cpu"
    ) -> "TritonWeights":
        """tensors: attn_norm, qkv, o, mlp_norm, gate_up, down, and where the model has them q_norm, k_norm, qkv_bias,
        o_bias, gate_up_bias and down_bias, all as in BlockWeights. Float tensors have the dtype of the activations.
        """

        def matrix(name: str) -> Tensor | QuantWeight:
            tensor = tensors[name]
            if tensor is None:
                raise TypeError(f"{name} is missing")
            return tensor

        def vector(name: str) -> Tensor | None:
            tensor = tensors.get(name)
            if isinstance(tensor, QuantWeight):
                raise TypeError(f"{name} is quantised")
            return None if tensor is None else tensor.to(device).contiguous()

        def norm(name: str) -> Tensor:
            gain = vector(name)
            if gain is None:
                raise TypeError(f"{name} is missing")
            return gain

        bias = vector("gate_up_bias")
        biases = (None, None) if bias is None else bias.chunk(2)
        halves = zip(split_rows(matrix("gate_up"), 2), biases, strict=True)
        gate, up = (pack(half, half_bias, device) for half, half_bias in halves)
        qkv, o, down = (pack(matrix(name), vector(f"{name}_bias"), device) for name in ("qkv", "o", "down"))
        return cls(
            norm("attn_norm"), qkv, o, norm("mlp_norm"), gate, up, down, vector("q_norm"), vector("k_norm")
        )  # fmt: skip


class TritonRange:
    """Blocks first to first + len(weights) - 1 of a model, ready to compute on one device.

    A token's bits depend on its session's tokens alone: not on the batch, its place there, the pages, or how a prompt
    was cut into chunks; the tests show it in the interpreter. Other devices and triton versions may give other bits.
    """

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        weights: Sequence[TritonWeights],
        rope: Rope,
        page_size: int,
        max_context: int,
        first: int = 0,
        graphs: bool = True,
    ):
        """specs: one for each block; rope: cos and sin of positions; max_context: positions a session may have.

        graphs: capture decode steps as CUDA graphs (on a GPU). Raises ValueError for an activation with no kernel.
        """
        for spec in specs:
            if spec.activation not in ACTIVATIONS:
                raise ValueError(f"no kernel for the activation {spec.activation!r}; there are {sorted(ACTIVATIONS)}")
        if len(specs) != len(weights):
            raise ValueError(f"{len(specs)} specs for the weights of {len(weights)} blocks")
        self.first = first
        self.page_size = page_size
        self.device = weights[0].attn_norm.device
        self._specs = list(specs)
        self._weights = list(weights)
        self._rope = rope
        self._steps = DecodeSteps(self._run, max_context, page_size, graphs and self.device.type == "cuda")

    def layout(self, segments: Sequence[Segment]) -> TritonBatch:
        """Raises ValueError for an empty batch or segment, a negative start, or too few pages."""
        repeats = self._specs[0].num_heads // self._specs[0].num_kv_heads
        return TritonBatch.build(segments, self.page_size, self._rope, repeats, self.device)

    @torch.inference_mode()
    def forward(
        self,
        hidden: Tensor,
        batch: TritonBatch,
        cache: Sequence[Pools | tuple[Tensor, ...]],
        start: int | None = None,
        stop: int | None = None,
    ) -> Tensor:
        """hidden [tokens, hidden_size] -> a new tensor of the same shape.

        cache: for each block of the whole range its pools, to which the batch's tokens are appended: (keys, values),
        or with scales for int8, see Pools. They must stay where they are between steps: graphs hold their addresses.
        start, stop: blocks of the model, to compute only these of the range.
        """
        start, stop = self.first if start is None else start, self._stop if stop is None else stop
        if not self.first <= start <= stop <= self._stop:
            raise ValueError(f"blocks {start}:{stop} are outside the range {self.first}:{self._stop} held here")
        blocks = range(start - self.first, stop - self.first)
        if not blocks:
            return hidden.clone()
        pools = [entry if isinstance(entry, Pools) else Pools(*entry) for entry in cache]
        if batch.prefill is None and batch.num_tokens <= BUCKETS[-1]:
            return self._steps(hidden.contiguous(), batch, pools, blocks)
        return self._run(hidden.contiguous(), batch, pools, blocks)

    @property
    def _stop(self) -> int:
        return self.first + len(self._weights)

    def _run(self, hidden: Tensor, batch: TritonBatch, pools: Sequence[Pools], blocks: range) -> Tensor:
        stream = widen(hidden, self._weights[blocks[0]].attn_norm)
        for index in blocks:
            following = None if index == blocks[-1] else self._weights[index + 1].attn_norm
            stream = run_block(stream, self._weights[index], self._specs[index], batch, pools[index], following)
        return stream.hidden


def run_block(
    stream: Stream, weights: TritonWeights, spec: BlockSpec, batch: TritonBatch, pools: Pools, next_norm: Tensor | None
) -> Stream:
    """One block; next_norm: the gain of the next block's first norm, None after the last."""
    eps = spec.norm_eps
    qkv = multiply(stream.widened, weights.qkv, squares=stream.squares, eps=eps).hidden
    query = rotate_and_append(qkv, batch, pools, weights.q_norm, weights.k_norm, eps)
    attended = attend(query, batch, pools, spec.window)
    stream = multiply(attended, weights.o, residual=stream.hidden, gain=weights.mlp_norm)
    inner = multiply_gated(stream, weights.gate, weights.up, eps, spec.activation)
    return multiply(inner, weights.down, residual=stream.hidden, gain=next_norm)
