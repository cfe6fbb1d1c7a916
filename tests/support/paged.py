"""A model in ranges over paged caches, the way servers and a client run it together, without any network."""

from collections.abc import Sequence
from itertools import pairwise

import torch

from swarm.model import BlockRange, Checkpoint, ModelEnds
from swarm_kernels import Segment


class PagedModel:
    """Sessions get pages scattered over the pool. Pools start as NaN, so that reading an unwritten slot shows."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        cuts: Sequence[int],
        dtype: torch.dtype = torch.float32,
        page_size: int = 4,
        pages_per_session: int = 16,
        sessions: int = 1,
    ):
        config = checkpoint.config
        bounds = [0, *cuts, config.num_blocks]
        self.page_size = page_size
        self.ends = ModelEnds.load(checkpoint, dtype)
        self.ranges = [BlockRange.load(checkpoint, start, stop, dtype) for start, stop in pairwise(bounds)]
        num_pages = pages_per_session * sessions + 3
        shape = (num_pages, page_size, config.num_kv_heads, config.head_dim)
        self.caches = [
            [tuple(torch.full(shape, torch.nan, dtype=dtype) for _ in "kv") for _ in range(blocks.stop - blocks.start)]
            for blocks in self.ranges
        ]
        shuffled = torch.randperm(num_pages, generator=torch.Generator().manual_seed(0)).tolist()
        self.pages = [shuffled[index::sessions][:pages_per_session] for index in range(sessions)]

    def segments(self, work: dict[int, tuple[int, Sequence[int]]]) -> list[Segment]:
        """work: session -> (position, token ids)"""
        return [Segment(self.pages[session], start, len(ids)) for session, (start, ids) in work.items()]

    def step(self, work: dict[int, tuple[int, Sequence[int]]]) -> dict[int, torch.Tensor]:
        """work: session -> (position, token ids). Returns each session's logits, [its tokens, vocab_size]."""
        segments = self.segments(work)
        hidden = self.ends.embed([token for _, ids in work.values() for token in ids])
        for blocks, cache in zip(self.ranges, self.caches, strict=True):
            hidden = blocks.forward(hidden, blocks.layout(segments, self.page_size), cache)
        logits = self.ends.logits(hidden).split([len(ids) for _, ids in work.values()])
        return dict(zip(work, logits, strict=True))

    def greedy(self, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        """`count` new tokens for each prompt; session i has prompt i, and all decode as one batch."""
        logits = [self.step({session: (0, prompt)})[session] for session, prompt in enumerate(prompts)]
        tokens = [[int(rows[-1].argmax())] for rows in logits]
        for done in range(1, count):
            work = {i: (len(prompt) + done - 1, [tokens[i][-1]]) for i, prompt in enumerate(prompts)}
            for session, rows in self.step(work).items():
                tokens[session].append(int(rows[-1].argmax()))
        return tokens
