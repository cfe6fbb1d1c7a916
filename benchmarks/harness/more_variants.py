"""Ways to compute blocks, honest and not, besides those that a calibration tries."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from swarm.model import BlockRange
from swarm.verify.audit.calibrating.variants import Announced, PlainProduct, Products, Variant, cheaper, fp8
from swarm.verify.audit.reexecution import prefill
from swarm_kernels import Segment as Rows
from swarm_kernels import cpu, reference
from swarm_kernels.cpu.library import library

PAGE = 256


def more_honest(announced: Announced) -> Iterator[Variant]:
    """Besides those of a calibration: the attention of transformers' eager path, and processors without AVX-512."""
    plain = announced.load(Products(PlainProduct, announced.dtype))
    yield Variant("torch, eager attention", partial(with_eager_attention, plain))
    if not cpu.is_available() or (announced.quant == "none" and announced.dtype == torch.float32):
        return
    fused = announced.load()
    yield Variant("fused", partial(prefill, fused))
    for level in ("avx512", "avx2"):
        with instructions(level):
            blocks = announced.load()
        yield Variant(f"fused, {level}", partial(with_instructions, level, blocks))


def more_cheats(announced: Announced) -> Iterator[Variant]:
    yield Variant("int8 cache", partial(with_int8_cache, announced.load()))
    if announced.quant == "none":
        yield Variant("fp8 in one block of ten", cheaper(announced, fp8, every=10))


def with_eager_attention(blocks: BlockRange, x: Tensor) -> Tensor:
    ours, reference._attend = reference._attend, eager_attention
    try:
        return prefill(blocks, x)
    finally:
        reference._attend = ours


def eager_attention(query: Tensor, keys: Tensor, values: Tensor, group: object, window: int | None) -> Tensor:
    """Scores and probabilities rounded to the activations' dtype, as transformers does it."""
    context = group.context(window)
    keys, values = (reference._gather(pool, context.slots) for pool in (keys, values))
    repeats = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1)
    rows = query.unflatten(0, (len(keys), -1)).transpose(1, 2)  # [sessions, heads, queries, head_dim]
    scores = rows @ keys.transpose(2, 3) / math.sqrt(query.shape[2])
    if context.mask is not None:
        scores = scores.masked_fill(~context.mask, -math.inf)
    out = scores.float().softmax(-1).to(query.dtype) @ values
    return out.transpose(1, 2).flatten(0, 1).flatten(1)


@contextmanager
def instructions(level: str) -> Iterator[None]:
    """The fused kernels as built for another processor."""
    os.environ["SWARM_CPU_KERNELS"] = level
    library.cache_clear()
    try:
        yield
    finally:
        del os.environ["SWARM_CPU_KERNELS"]
        library.cache_clear()


def with_instructions(level: str, blocks: BlockRange, x: Tensor) -> Tensor:
    with instructions(level):
        return prefill(blocks, x)


@torch.inference_mode()
def with_int8_cache(blocks: BlockRange, x: Tensor, piece: int = 8) -> Tensor:
    """Keys and values in int8 with a scale a head, once they are no longer new."""
    config, pages = blocks.config, range(-(-len(x) // PAGE))
    shape = (len(pages), PAGE, config.num_kv_heads, config.head_dim)
    cache = [tuple(x.new_zeros(shape) for _ in "kv") for _ in range(blocks.start, blocks.stop)]
    out = []
    for start in range(0, len(x), piece):
        rows = x[start : start + piece]
        out.append(blocks.forward(rows, blocks.layout([Rows(pages, start, len(rows))], PAGE), cache))
        for pool in (pool for pair in cache for pool in pair):
            new = pool.flatten(0, 1)[start : start + piece]
            step = new.float().abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
            new.copy_((new / step).round() * step)
    return torch.cat(out)
