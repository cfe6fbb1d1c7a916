"""Peers to tell apart: honest ones that compute the same in another way, and ones that cut corners.

They live in the auditor's own process, to measure audits by. No server has an option to be one of them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from swarm.model import BlockRange, Checkpoint
from swarm.verify.audit.reexecution import prefill
from swarm_kernels import (
    FORMATS,
    Backend,
    BlockWeights,
    Format,
    Linear,
    Product,
    QuantWeight,
    TorchBackend,
    cpu,
    quantize,
    weight_bits,
)

CONTEXT = 64  # tokens that a peer with a truncated context looks back, at most

_CPU = torch.device("cpu")
_DECODED = 32  # tokens at a segment's end that go one at a time

Weights = Callable[[Tensor], Tensor]  # [out, in] float32 -> what a cheaper format makes of it


class Variant(NamedTuple):
    """run: x [tokens, hidden_size] from position 0 on, in the announced dtype -> the outputs, in any float dtype."""

    name: str
    run: Callable[[Tensor], Tensor]


class Announced(NamedTuple):
    """What a peer says it serves."""

    checkpoint: Checkpoint
    start: int
    stop: int
    quant: str
    dtype: torch.dtype

    def load(self, backend: Backend | None = None, threads: int = 1) -> BlockRange:
        return BlockRange.load(
            self.checkpoint, self.start, self.stop, self.dtype, quant=self.quant, threads=threads, backend=backend
        )


def honest(announced: Announced) -> Iterator[Variant]:
    """Ways to compute what was announced. Each is loaded when its turn comes."""
    dtype = announced.dtype
    torchs = announced.load(TorchBackend(announced.quant, dtype, _CPU))
    yield Variant("torch", partial(prefill, torchs))
    yield Variant("torch, pieces of 7", partial(prefill, torchs, pieces=7))
    yield Variant("torch, decode", partial(_decode, torchs))
    yield Variant("torch, batch of 4", partial(prefill, torchs, pieces=64, sessions=4))
    yield Variant("torch, other attention", partial(_other_attention, torchs))
    yield Variant("torch, two threads", partial(_two_threads, torchs))
    del torchs
    yield Variant("torch, plain products", partial(prefill, announced.load(Products(PlainProduct, dtype))))
    yield Variant("torch, tensor parallel", partial(prefill, announced.load(Products(SplitProduct, dtype))))
    exact = announced.load(Products(Linear, torch.float32))
    yield Variant("float32 arithmetic", lambda x: prefill(exact, x.float()))
    native = announced.quant in FORMATS or (announced.quant == "none" and dtype == torch.bfloat16)
    if native and cpu.is_available():
        fused = announced.load(threads=2)
        yield Variant("fused, two threads", partial(prefill, fused))
        yield Variant("fused, decode", partial(_decode, fused))


def cheats(announced: Announced) -> Iterator[Variant]:
    """Ways to do less. Cheaper weights are computed with in float32, so that only they are seen."""
    least = weight_bits(announced.quant, announced.dtype) - 1
    for name, (bits, weights) in CHEAPER.items():
        if bits > least:
            continue
        cheap = cheaper(announced, weights)
        yield Variant(f"{name} weights", cheap)
        if bits < 8:
            yield Variant(f"{name} for a tenth of the tokens", partial(_sometimes, announced.load(), cheap))
            yield Variant(f"{name} in one block of ten", cheaper(announced, weights, every=10))
    blocks = announced.load()
    yield Variant("a skipped block", partial(prefill, blocks, stop=announced.stop - 1))
    yield Variant("a truncated context", partial(_truncated, blocks))
    yield Variant("input returned unchanged", lambda x: x)


def cheaper(announced: Announced, weights: Weights, every: int = 1) -> Callable[[Tensor], Tensor]:
    """Runs with other weights than announced, in every `every`th block from the first on."""
    blocks = announced.load(Products(Linear, torch.float32, weights, every))
    return lambda x: prefill(blocks, x.float())


def per_channel(weight: Tensor) -> Tensor:
    """int8 with a scale a row."""
    step = weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    return (weight / step).round() * step


def fp8(weight: Tensor) -> Tensor:
    """e4m3 with a scale a row."""
    step = weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 448
    return (weight / step).to(torch.float8_e4m3fn).float() * step


def _requantised(format: Format) -> tuple[float, Weights]:
    return format.bits_per_weight, lambda weight: quantize(weight, format).dequantize()


CHEAPER: dict[str, tuple[float, Weights]] = {  # bits a weight, and what they leave of it
    "bfloat16": (16.0, lambda weight: weight.bfloat16().float()),
    "int8": _requantised(FORMATS["int8"]),
    "int8 g64": _requantised(Format("int8-g64", 8, 64, "symmetric")),
    "int8 per channel": (8.0, per_channel),
    "fp8 e4m3": (8.0, fp8),
    "int4-g64": _requantised(FORMATS["int4-g64"]),
    "nf4": _requantised(FORMATS["nf4"]),
    "int3": _requantised(Format("int3", 3, 32, "symmetric")),
}


class PlainProduct:
    """torch's product without packing, the residual rounded in apart."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = F.linear(x, self._weight, self._bias)
        return product if residual is None else residual + product


class SplitProduct:
    """Two halves of the columns, each on a device of its own, and the sum of both: tensor parallelism."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self._halves = [half.contiguous() for half in weight.chunk(2, 1)]
        self._bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        first, second = (F.linear(part, half) for part, half in zip(x.chunk(2, 1), self._halves, strict=True))
        product = first + second if self._bias is None else first + second + self._bias
        return product if residual is None else residual + product


class Products(TorchBackend):
    """torch's blocks on products of another kind, or other weights."""

    def __init__(
        self,
        product: Callable[[Tensor, Tensor | None], Product],
        dtype: torch.dtype,
        weights: Weights | None = None,
        every: int = 1,
    ):
        super().__init__("none", dtype, _CPU)
        self._kind, self._weights, self._every, self._blocks = product, weights, every, 0

    def _block(self, tensors: dict[str, Tensor | QuantWeight]) -> BlockWeights[Product]:
        made = super()._block(tensors)
        self._blocks += 1
        return made

    def _product(self, weight: Tensor | QuantWeight, bias: Tensor | None) -> Product:
        values = weight.dequantize() if isinstance(weight, QuantWeight) else weight.float()
        if self._weights is not None and self._blocks % self._every == 0:
            values = self._weights(values)
        return self._kind(values.to(self._dtype), None if bias is None else bias.to(self._dtype))


def _decode(blocks: BlockRange, x: Tensor) -> Tensor:
    """A prompt, and its last tokens one by one."""
    prompt = max(len(x) - _DECODED, 1)
    return prefill(blocks, x, pieces=[prompt, *[1] * (len(x) - prompt)])


def _other_attention(blocks: BlockRange, x: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return prefill(blocks, x)


def _two_threads(blocks: BlockRange, x: Tensor) -> Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return prefill(blocks, x)
    finally:
        torch.set_num_threads(before)


def _sometimes(blocks: BlockRange, cheap: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Cheap for a tenth of the tokens, here and there."""
    chosen = torch.zeros(len(x), 1, dtype=torch.bool)
    chosen[torch.randperm(len(x), generator=torch.Generator().manual_seed(len(x)))[: len(x) // 10]] = True
    return torch.where(chosen, cheap(x).float(), prefill(blocks, x).float())


def _truncated(blocks: BlockRange, x: Tensor) -> Tensor:
    return torch.cat([prefill(blocks, piece) for piece in x.split(CONTEXT)])
