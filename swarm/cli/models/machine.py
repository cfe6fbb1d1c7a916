"""The memory that blocks are to fit into: so much, or what this machine has."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from swarm_kernels import MEMORY_SHARE, free_nbytes


@dataclass(frozen=True)
class Place:
    """Memory for blocks and cache."""

    name: str
    nbytes: int
    device: str = ""  # of this machine


def given(nbytes: int) -> Place:
    return Place(in_words(nbytes), nbytes)


def here() -> Iterator[Place]:
    """What a server takes on this machine where it is not told how much."""
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    for device in devices:
        nbytes = int(free_nbytes(torch.device(device)) * MEMORY_SHARE)
        name = "here" if device == "cpu" else f"here, GPU {device[5:]}"
        yield Place(f"{name} ({in_words(nbytes)})", nbytes, device)


def in_words(nbytes: float) -> str:
    """Such as "16 GiB", "1.5 GiB", "13.5 MiB", "47.2 KiB"."""
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if nbytes >= size:
            return f"{round(nbytes / size, 1):g} {unit}"
    return f"{round(nbytes / 1024, 1):g} KiB"
