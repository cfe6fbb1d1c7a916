"""Attention, norms and products for transformer blocks: `reference` states in plain torch what each one computes."""

from swarm_kernels.batch import PagedBatch, Segment
from swarm_kernels.block import BlockSpec, BlockWeights, Product, decoder_block
from swarm_kernels.dispatch import BNB_FORMATS, QUANTS, Backend, Blocks, TorchBackend, choose_backend, weight_bits
from swarm_kernels.linear import Linear
from swarm_kernels.memory import MEMORY_SHARE, allocate, free_nbytes
from swarm_kernels.quant import FORMATS, Format, QuantWeight, quantize
from swarm_kernels.reference import ACTIVATIONS, append_kv, gated_mlp, paged_attention, rms_norm, rotary, rotary_table

__all__ = [
    "ACTIVATIONS",
    "BNB_FORMATS",
    "FORMATS",
    "MEMORY_SHARE",
    "QUANTS",
    "Backend",
    "BlockSpec",
    "BlockWeights",
    "Blocks",
    "Format",
    "Linear",
    "PagedBatch",
    "Product",
    "QuantWeight",
    "Segment",
    "TorchBackend",
    "allocate",
    "append_kv",
    "choose_backend",
    "decoder_block",
    "free_nbytes",
    "gated_mlp",
    "paged_attention",
    "quantize",
    "rms_norm",
    "rotary",
    "rotary_table",
    "weight_bits",
]
