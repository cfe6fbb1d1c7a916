"""The pool of pages that holds the keys and values of all sessions, of a server or of a client's own blocks."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from swarm.errors import ModelError, PeerBusy
from swarm.model.config.families import ModelConfig
from swarm.program import option
from swarm.shown import count

PAGE_TOKENS = 32


def _untouched(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros that take no memory until they are written: numpy asks the operating system for zeroed pages, where
    torch.zeros writes them all. A GPU has no such pages."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(shape)


def token_nbytes(config: ModelConfig, num_blocks: int, dtype: torch.dtype) -> int:
    """Bytes of one position's keys and values in so many blocks."""
    return 2 * num_blocks * config.num_kv_heads * config.head_dim * dtype.itemsize


class PagePool:
    """Pages of PAGE_TOKENS positions across all served blocks; page p is row p of every block's K and V tensor.

    Memory is reserved, not touched: the operating system gives zeroed memory as pages are first written. Freed pages
    are reused before fresh ones, so that a quiet server stays small.
    """

    def __init__(
        self, config: ModelConfig, num_blocks: int, dtype: torch.dtype, budget_bytes: int, device: torch.device
    ):
        page_bytes = PAGE_TOKENS * token_nbytes(config, num_blocks, dtype)
        self.num_pages = budget_bytes // page_bytes
        if self.num_pages < 1:
            raise ModelError(
                f"{budget_bytes / 2**20:.1f} MiB for keys and values is less than one page of {PAGE_TOKENS} tokens "
                f"({page_bytes / 2**20:.1f} MiB); raise {option('kv_memory')} (of a client: local_kv_bytes)"
            )
        shape = (self.num_pages, PAGE_TOKENS, config.num_kv_heads, config.head_dim)
        self.tensors = [(_untouched(shape, dtype, device), _untouched(shape, dtype, device)) for _ in range(num_blocks)]
        self._free = list(range(self.num_pages - 1, -1, -1))  # a stack: last freed, first used

    @property
    def free_pages(self) -> int:
        return len(self._free)

    def allocate(self, tokens: int) -> list[int]:
        """Pages for `tokens` positions. Raises PeerBusy if there are not enough now, or never will be."""
        needed = -(-tokens // PAGE_TOKENS)
        if needed > len(self._free):
            raise PeerBusy(
                f"no room for {count(tokens, 'token')}: {count(needed, 'page')} needed, "
                f"{len(self._free)} of {self.num_pages} free"
            )
        pages = self._free[-needed:][::-1]
        del self._free[-needed:]
        return pages

    def free(self, pages: Sequence[int]) -> None:
        self._free.extend(reversed(pages))

    def check_integrity(self) -> None:
        """When no session is open, every page is free exactly once. Raises RuntimeError otherwise."""
        if sorted(self._free) != list(range(self.num_pages)):
            raise RuntimeError(f"page pool corrupt: {len(self._free)} free of {self.num_pages}")
