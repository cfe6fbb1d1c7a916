"""x"""

import torch

from memory_hops import HIDDEN, MemoryHop
from swarm.session.chain import SessionOptions
from swarm.wire.formats.quotes import Quote

OPTIONS = SessionOptions("m", "r", HIDDEN, torch.float32, 100, 1.0, 1.0, coverage_timeout_s=0.0)


def chain_of(*ranges: tuple[int, int], asks: Quote | None = None) -> list[MemoryHop]:
    swarm: dict[str, MemoryHop] = {}
    return [MemoryHop(start, stop, swarm, asks or Quote()) for start, stop in ranges]
