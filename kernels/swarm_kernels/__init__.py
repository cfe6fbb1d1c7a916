"""Attention, norms and products for transformer blocks: `reference` states in plain torch what each one computes."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm_kernels.batch import PagedBatch, Segment
    from swarm_kernels.block import BlockSpec, BlockWeights, Product, decoder_block
    from swarm_kernels.dispatch import Backend, Blocks, TorchBackend, choose_backend, weight_bits
    from swarm_kernels.formats import BNB_FORMATS, FORMATS, QUANTS, Format
    from swarm_kernels.linear import Linear
    from swarm_kernels.memory import MEMORY_SHARE, allocate, free_nbytes
    from swarm_kernels.quant import QuantWeight, quantize
    from swarm_kernels.reference import (
        ACTIVATIONS,
        append_kv,
        gated_mlp,
        paged_attention,
        rms_norm,
        rotary,
        rotary_table,
    )

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

# Imported when first used: what formats there are is asked by programs that compute nothing, and the rest brings torch.
_LAZY = {
    "ACTIVATIONS": "reference",
    "BNB_FORMATS": "formats",
    "FORMATS": "formats",
    "MEMORY_SHARE": "memory",
    "QUANTS": "formats",
    "Backend": "dispatch",
    "BlockSpec": "block",
    "BlockWeights": "block",
    "Blocks": "dispatch",
    "Format": "formats",
    "Linear": "linear",
    "PagedBatch": "batch",
    "Product": "block",
    "QuantWeight": "quant",
    "Segment": "batch",
    "TorchBackend": "dispatch",
    "allocate": "memory",
    "append_kv": "reference",
    "choose_backend": "dispatch",
    "decoder_block": "block",
    "free_nbytes": "memory",
    "gated_mlp": "reference",
    "paged_attention": "reference",
    "quantize": "quant",
    "rms_norm": "reference",
    "rotary": "reference",
    "rotary_table": "reference",
    "weight_bits": "dispatch",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'swarm_kernels' has no attribute {name!r}")
    return getattr(import_module(f"swarm_kernels.{_LAZY[name]}"), name)
