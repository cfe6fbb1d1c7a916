"""The client's end of a step: what takes long is beside the event loop, which listens to the hops meanwhile."""

import asyncio
import threading
from collections.abc import Sequence

import torch

from swarm.generate.heads import Heads


class Ends:
    """Remembers in which threads it was called."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        self.threads.append(threading.current_thread())
        return torch.tensor(tokens)[:, None]


def test_a_long_prompt_is_embedded_beside_the_event_loop():
    ends = Ends()
    heads = Heads(ends)
    for count in (3, 8_000):
        assert asyncio.run(heads.embed(range(count))).shape == (count, 1)
    heads.close()
    few, many = ends.threads
    assert few is threading.main_thread() is not many
