"""Fused kernels for x86-64 processors in C++: a range of blocks, or a head, in one call."""

from swarm_kernels.cpu.blocks import CpuBlocks, supports
from swarm_kernels.cpu.library import COLUMNS, PackedMatrix, is_available, kernel_id

__all__ = ["COLUMNS", "CpuBlocks", "PackedMatrix", "is_available", "kernel_id", "supports"]
