"""Decoder blocks as Triton kernels for NVIDIA GPUs. Importable only where triton is installed (extra `cuda`)."""

from swarm_kernels.triton.blocks import TritonRange, TritonWeights, run_block
from swarm_kernels.triton.launch import Pools
from swarm_kernels.triton.layout import TritonBatch
from swarm_kernels.triton.weights import PackedWeight, pack, unpack

__all__ = ["PackedWeight", "Pools", "TritonBatch", "TritonRange", "TritonWeights", "pack", "run_block", "unpack"]
