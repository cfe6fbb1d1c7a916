"""One decoder block of the Llama family: attention and gated MLP, each behind a norm and in a residual branch."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from swarm_kernels.batch import PagedBatch
from swarm_kernels.reference import append_kv, gated_mlp, paged_attention, rms_norm, rotary


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """The numbers of a block that its tensors' shapes do not tell."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    activation: str = "silu"
    window: int | None = None  # how many positions back a query sees, itself included; None: all


P = TypeVar("P", covariant=True)  # what a weight matrix has become


class Product(Protocol):
    """A weight matrix [out, in], in whatever form its user computes with."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [tokens, in] -> x @ weight.T (+ its bias) (+ residual), [tokens, out]"""


@dataclass(frozen=True, slots=True, eq=False)
class BlockWeights(Generic[P]):
    """The tensors of a block, products that share an input fused.

    qkv:     [(num_heads + 2 * num_kv_heads) * head_dim, hidden], rows in the order q, k, v
    o:       [hidden, num_heads * head_dim]
    gate_up: [2 * intermediate, hidden], gate first
    down:    [hidden, intermediate]
    q_norm, k_norm: [head_dim], applied to each head, where the model has them
    """

    attn_norm: Tensor
    qkv: P
    o: P
    mlp_norm: Tensor
    gate_up: P
    down: P
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None


def decoder_block(
    hidden: Tensor,
    weights: BlockWeights[Product],
    spec: BlockSpec,
    table: tuple[Tensor, Tensor],
    batch: PagedBatch,
    cache: tuple[Tensor, Tensor],
) -> Tensor:
    """hidden [tokens, hidden] -> the same shape, a new tensor; appends the new keys and values to the cache's pools.

    table: `rotary_table` of the batch's positions. cache: the block's key and value pool.
    """
    keys, values = cache
    query, key, value = _project(hidden, weights, spec, table)
    append_kv(keys, key, batch.slots)
    append_kv(values, value, batch.slots)
    hidden = weights.o(paged_attention(query, keys, values, batch, spec.window), residual=hidden)
    normed = rms_norm(hidden, weights.mlp_norm, spec.norm_eps)
    return weights.down(gated_mlp(weights.gate_up(normed), spec.activation), residual=hidden)


def _project(
    hidden: Tensor, weights: BlockWeights[Product], spec: BlockSpec, table: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [tokens, num_heads, head_dim], keys and values [tokens, num_kv_heads, head_dim]; both first rotated."""
    normed = rms_norm(hidden, weights.attn_norm, spec.norm_eps)
    heads = weights.qkv(normed).unflatten(-1, (-1, spec.head_dim))
    first_value = spec.num_heads + spec.num_kv_heads
    query_key, value = heads[:, :first_value], heads[:, first_value:]
    if weights.q_norm is not None and weights.k_norm is not None:
        query_key[:, : spec.num_heads] = rms_norm(query_key[:, : spec.num_heads], weights.q_norm, spec.norm_eps)
        query_key[:, spec.num_heads :] = rms_norm(query_key[:, spec.num_heads :], weights.k_norm, spec.norm_eps)
    query_key = rotary(query_key, table)
    return query_key[:, : spec.num_heads], query_key[:, spec.num_heads :], value
