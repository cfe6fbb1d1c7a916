"""What each kernel computes, in plain torch. Any other implementation is tested against these.

Shapes: `tokens` is flat over all segments of a PagedBatch; a pool is [num_pages, page_size, num_kv_heads, head_dim].
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from swarm_kernels.batch import Group, PagedBatch

# Names as in a Hugging Face config's `hidden_act`.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "swish": F.silu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight over the last dimension, the mean taken in float32 (Zhang & Sennrich, 2019)."""
    return F.rms_norm(x, weight.shape, weight, eps)


def rotary_table(cos: Tensor, sin: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Prepares cos and sin, [tokens, head_dim] float32, for `rotary`: once per step, as every block uses them.

    The minus of HF's rotate_half moves into the first half of sin, which leaves three operations for each block.
    """
    half = sin.shape[-1] // 2
    sin = torch.cat((-sin[:, :half], sin[:, half:]), dim=-1)
    return cos.to(dtype).unsqueeze(1), sin.to(dtype).unsqueeze(1)


def rotary(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates x [tokens, heads, head_dim] by the table of its positions; pairs are (i, i + head_dim / 2), as in HF."""
    cos, sin = table
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def append_kv(pool: Tensor, new: Tensor, slots: Tensor) -> None:
    """Writes new [tokens, num_kv_heads, head_dim] into the pool, in place, at slots [tokens]."""
    pool.flatten(0, 1).index_copy_(0, slots, new)


def paged_attention(
    query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, window: int | None = None
) -> Tensor:
    """Causal attention of the new tokens over their sessions' cached ones, which include themselves.

    query: [tokens, num_heads, head_dim]; keys, values: pools. Query heads are consecutive per KV head. A query at
    position p sees p - window + 1 to p. Returns [tokens, num_heads * head_dim].
    """
    if len(batch.groups) == 1:
        return _attend(query, keys, values, batch.groups[0], window)
    out = query.new_empty(query.shape[0], query.shape[1] * query.shape[2])
    for group in batch.groups:
        out[group.rows] = _attend(query[group.rows], keys, values, group, window)
    return out


def _attend(query: Tensor, keys: Tensor, values: Tensor, group: Group, window: int | None) -> Tensor:
    """Attention of one group, query [sessions * count, num_heads, head_dim] -> [sessions * count, all heads]."""
    context = group.context(window)
    keys, values = _gather(keys, context.slots), _gather(values, context.slots)
    if group.count == 1:
        # The query heads that share a KV head become the rows of one product, so that K and V need no repeating.
        # On a CPU in bfloat16 this is 5-8 times faster than enable_gqa.
        grouped = query.unflatten(1, (keys.shape[1], -1))  # [sessions, num_kv_heads, repeats, head_dim]
        return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=context.mask).flatten(1)
    rows = query.transpose(0, 1).unsqueeze(0)  # [1, num_heads, count, head_dim]
    out = F.scaled_dot_product_attention(rows, keys, values, attn_mask=context.mask, enable_gqa=True)
    return out.squeeze(0).transpose(0, 1).flatten(1)


def _gather(pool: Tensor, slots: Tensor) -> Tensor:
    """pool, slots [sessions, longest] -> [sessions, num_kv_heads, longest, head_dim]"""
    rows = pool.flatten(0, 1).index_select(0, slots.flatten())
    return torch.unflatten(rows, 0, slots.shape).transpose(1, 2)


def gated_mlp(gate_up: Tensor, activation: str = "silu") -> Tensor:
    """activation(gate) * up of gate_up [tokens, 2 * intermediate_size], the gate first; SwiGLU for silu."""
    gate, up = gate_up.chunk(2, dim=-1)
    return ACTIVATIONS[activation](gate).mul_(up)
