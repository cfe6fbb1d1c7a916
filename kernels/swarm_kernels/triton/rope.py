"""Between the QKV product and attention: QK-norm, rotation, and the append of keys and values to the paged cache."""

import triton
import triton.language as tl

from swarm_kernels.triton.arithmetic import cast, tree_sum

_ONE = tl.constexpr(1)
_TINY = tl.constexpr(1e-30)  # a row of zeros has this scale, so that nothing divides by zero


@triton.jit
def normalize(
    low: tl.tensor, high: tl.tensor, gain_ptr: tl.tensor, i: tl.tensor, eps: tl.tensor, HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """RMSNorm of one head, given as two halves [BLOCK_HALF]."""
    squares = tl.reshape(low * low + high * high, [BLOCK_HALF, 1])
    inverse = 1.0 / tl.sqrt_rn(tree_sum(squares, BLOCK_HALF, _ONE) / (2 * HALF) + eps)
    gain_low = tl.load(gain_ptr + i, mask=i < HALF, other=0.0).to(tl.float32)
    gain_high = tl.load(gain_ptr + HALF + i, mask=i < HALF, other=0.0).to(tl.float32)
    return low * inverse * gain_low, high * inverse * gain_high


@triton.jit
def append(
    low: tl.tensor, high: tl.tensor, pool_ptr: tl.tensor, scales_ptr: "tl.tensor | None", where: tl.tensor,
    i: tl.tensor, HALF: tl.constexpr,
) -> None:  # fmt: skip
    """Writes one head at row `where` of a pool [slots * kv heads, head_dim], quantised if it has scales."""
    at = pool_ptr + where * (2 * HALF) + i
    if scales_ptr is not None:
        largest = tl.maximum(tl.max(tl.abs(low), axis=0), tl.max(tl.abs(high), axis=0))
        scale = tl.maximum(largest / 127.0, _TINY)
        tl.store(scales_ptr + where, scale)
        low = tl.floor(low / scale + 0.5)
        high = tl.floor(high / scale + 0.5)
    tl.store(at, cast(low, pool_ptr.dtype.element_ty), mask=i < HALF)
    tl.store(at + HALF, cast(high, pool_ptr.dtype.element_ty), mask=i < HALF)


@triton.jit
def rope_append_kernel(
    qkv_ptr: tl.tensor, query_ptr: tl.tensor, cos_ptr: tl.tensor, sin_ptr: tl.tensor, slots_ptr: tl.tensor,
    q_norm_ptr: "tl.tensor | None", k_norm_ptr: tl.tensor, keys_ptr: tl.tensor, values_ptr: tl.tensor,
    key_scales_ptr: "tl.tensor | None", value_scales_ptr: "tl.tensor | None", eps: tl.tensor, NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr, HALF: tl.constexpr, BLOCK_HALF: tl.constexpr,
) -> None:  # fmt: skip
    """One program is one head of one token: a query, a key or a value.

    qkv [tokens, heads + 2 * kv heads, head_dim] -> query [tokens, heads, head_dim], and rows of the pools [slots,
    kv heads, head_dim] at slots [tokens] int64 (-1: none). cos, sin: [tokens, head_dim] float32, whose halves may
    differ. Pools of int8 have scales [slots, kv heads] float32.
    """
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    i = tl.arange(0, BLOCK_HALF)
    inside = i < HALF
    at = qkv_ptr + (token * (NUM_HEADS + 2 * NUM_KV_HEADS) + head) * (2 * HALF) + i
    low = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(at + HALF, mask=inside, other=0.0).to(tl.float32)
    slot = tl.load(slots_ptr + token)
    if head >= NUM_HEADS + NUM_KV_HEADS:
        if slot >= 0:
            where = slot * NUM_KV_HEADS + head - NUM_HEADS - NUM_KV_HEADS
            append(low, high, values_ptr, value_scales_ptr, where, i, HALF)
    else:
        if q_norm_ptr is not None:
            gain_ptr = q_norm_ptr if head < NUM_HEADS else k_norm_ptr
            low, high = normalize(low, high, gain_ptr, i, eps, HALF, BLOCK_HALF)
        turn = token * (2 * HALF) + i
        cos_low = tl.load(cos_ptr + turn, mask=inside, other=0.0)
        cos_high = tl.load(cos_ptr + turn + HALF, mask=inside, other=0.0)
        sin_low = tl.load(sin_ptr + turn, mask=inside, other=0.0)
        sin_high = tl.load(sin_ptr + turn + HALF, mask=inside, other=0.0)
        first = low * cos_low - high * sin_low
        second = high * cos_high + low * sin_high
        if head < NUM_HEADS:
            to = query_ptr + (token * NUM_HEADS + head) * (2 * HALF) + i
            tl.store(to, cast(first, query_ptr.dtype.element_ty), mask=inside)
            tl.store(to + HALF, cast(second, query_ptr.dtype.element_ty), mask=inside)
        elif slot >= 0:
            append(first, second, keys_ptr, key_scales_ptr, slot * NUM_KV_HEADS + head - NUM_HEADS, i, HALF)
