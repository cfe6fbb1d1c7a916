"""Attention, norms and products for transformer blocks: `reference` states in plain torch what each one computes."""

from swarm_kernels.batch import PagedBatch, Segment
from swarm_kernels.block import BlockSpec, BlockWeights, decoder_block
from swarm_kernels.linear import Linear
from swarm_kernels.reference import ACTIVATIONS, append_kv, gated_mlp, paged_attention, rms_norm, rotary, rotary_table

__all__ = [
    "ACTIVATIONS",
    "BlockSpec",
    "BlockWeights",
    "Linear",
    "PagedBatch",
    "Segment",
    "append_kv",
    "decoder_block",
    "gated_mlp",
    "paged_attention",
    "rms_norm",
    "rotary",
    "rotary_table",
]
