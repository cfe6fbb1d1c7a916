"""What one step computes, as the arrays that the kernels read; built once per step on the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
from torch import Tensor

from swarm_kernels.batch import PagedBatch, Segment
from swarm_kernels.triton.attention import SPLIT

# positions [tokens] int64 -> cos and sin [tokens, head_dim] float32
Rope = Callable[[Tensor], tuple[Tensor, Tensor]]

_TABLE_MULTIPLE = 16  # lines of the block table begin at multiples of 64 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What programs of attention work on, each [items] int32: one token (decode) or a tile of them (prefill).

    rows: the item's first token in the batch; counts: its tokens; sessions: its line of the block table
    """

    rows: Tensor
    counts: Tensor
    sessions: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TritonBatch:
    """One ragged batch of segments; tokens lie segment after segment.

    positions: [tokens] int32, -1 for padding; slots: [tokens] int64, where keys and values go, -1 for nowhere
    cos, sin:  [tokens, head_dim] float32
    table:     [sessions, pages] int32
    splits:    how many splits the longest decoding context has
    """

    positions: Tensor
    slots: Tensor
    cos: Tensor
    sin: Tensor
    table: Tensor
    decode: Work | None
    prefill: Work | None
    splits: int

    @property
    def num_tokens(self) -> int:
        return self.positions.shape[0]

    @classmethod
    def build(
        cls, segments: Sequence[Segment], page_size: int, rope: Rope, repeats: int, device: torch.device | str = "cpu"
    ) -> "TritonBatch":
        """repeats: query heads per KV head. Raises ValueError as PagedBatch.build does."""
        batch = PagedBatch.build(segments, page_size)
        counts = np.array([segment.count for segment in segments])
        first_rows = np.cumsum(counts) - counts
        decoding = counts == 1
        longest = max((s.start + 1 for s in segments if s.count == 1), default=0)
        cos, sin = rope(batch.positions.to(device))
        return cls(
            positions=batch.positions.to(device, torch.int32),
            slots=batch.slots.to(device),
            cos=cos.to(device, torch.float32).contiguous(),
            sin=sin.to(device, torch.float32).contiguous(),
            table=_table(segments, page_size).to(device),
            decode=_work(first_rows, counts, decoding, 1, device),
            prefill=_work(first_rows, counts, ~decoding, tile_tokens(repeats), device),
            splits=triton.cdiv(longest, SPLIT),
        )


def query_rows(repeats: int) -> int:
    """Rows of a prefill tile: tokens times query heads of a KV head. Fewer than 64, see arithmetic.py."""
    return max(32, triton.next_power_of_2(repeats))


def tile_tokens(repeats: int) -> int:
    return query_rows(repeats) // triton.next_power_of_2(repeats)


def _table(segments: Sequence[Segment], page_size: int) -> Tensor:
    used = [-(-(segment.start + segment.count) // page_size) for segment in segments]
    table = np.zeros((len(segments), -(-max(used) // _TABLE_MULTIPLE) * _TABLE_MULTIPLE), dtype=np.int32)
    for line, segment, count in zip(table, segments, used, strict=True):
        line[:count] = np.asarray(segment.pages)[:count]
    return torch.from_numpy(table)


def _work(
    first_rows: np.ndarray, counts: np.ndarray, chosen: np.ndarray, tokens: int, device: torch.device | str
) -> Work | None:
    """The chosen segments, cut into tiles of at most `tokens` tokens."""
    items = [
        (row + done, min(tokens, count - done), session)
        for session, (row, count) in enumerate(zip(first_rows.tolist(), counts.tolist(), strict=True))
        if chosen[session]
        for done in range(0, count, tokens)
    ]
    if not items:
        return None
    return Work(*torch.tensor(items, dtype=torch.int32).T.contiguous().to(device))
