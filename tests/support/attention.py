"""Attention by the book, for kernels to be compared with."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from swarm_kernels import Segment


def naive_attention(
    query: Tensor, keys: Tensor, values: Tensor, segments: Sequence[Segment], window: int | None
) -> Tensor:
    """One query at a time, float64; the whole context read from the pools through the block tables.

    query: [tokens, heads, head_dim]. keys, values: [pages, positions of a page, kv heads, head_dim].
    """
    out, row, page = [], 0, keys.shape[1]
    for segment in segments:
        for position in range(segment.start, segment.start + segment.count):
            first = 0 if window is None else max(0, position - window + 1)
            where = [segment.pages[p // page] * page + p % page for p in range(first, position + 1)]
            k, v = (pool.flatten(0, 1)[where].double() for pool in (keys, values))  # [seen, kv heads, head_dim]
            repeats = query.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
            scores = torch.einsum("hd,shd->hs", query[row].double(), k) / math.sqrt(query.shape[2])
            out.append(torch.einsum("hs,shd->hd", scores.softmax(-1), v).flatten())
            row += 1
    return torch.stack(out)
