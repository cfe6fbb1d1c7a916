"""Memory for weights, and how much of it there is."""

import math
import mmap

import psutil
import torch
from torch import Tensor

MEMORY_SHARE = 0.8  # of what is free, that weights and caches take if nobody says how much
_LARGE = 1 << 16  # bytes
_ALIGNMENT = 64
_CHUNK = 64 << 20


def free_nbytes(device: torch.device) -> int:
    """Memory that nobody uses now."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def allocate(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
    """An uninitialised tensor. Large ones get memory straight from the operating system.

    Weights that are repacked or moved to a GPU are freed at once; malloc would keep a fifth of that memory as holes.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _LARGE:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, nbytes), dtype=dtype).view(shape)


class Arena:
    """Memory for matrices that are read one after the other at every step: close together, in huge pages if the system
    has any, so that neither address translation nor prefetching starts anew with each.

    Only what is written is really taken from the system.
    """

    def __init__(self) -> None:
        self._free = torch.empty(0, dtype=torch.uint8)

    def take(self, nbytes: int) -> Tensor:
        """[nbytes] uint8, aligned to 64 bytes."""
        if nbytes > len(self._free):
            memory = mmap.mmap(-1, max(nbytes, _CHUNK))
            if hasattr(mmap, "MADV_HUGEPAGE"):
                memory.madvise(mmap.MADV_HUGEPAGE)
            self._free = torch.frombuffer(memory, dtype=torch.uint8)
        taken, self._free = self._free[:nbytes], self._free[-(-nbytes // _ALIGNMENT) * _ALIGNMENT :]
        return taken
