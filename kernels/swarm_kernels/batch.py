"""What one step computes: new tokens of many sessions, laid out for attention over paged caches.

A pool is a tensor [num_pages, page_size, num_kv_heads, head_dim]. A *slot* is a row of the pool flattened over its
pages: `page * page_size + offset`. The batch is built once per step and read by every block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

# Contexts are padded to a multiple of this many positions, the widest vector of a CPU in float32: so that how far a
# context is padded for its batch's sake seldom changes how torch sums over it. (It promises nothing.)
_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` new tokens of one session, at positions `start` to `start + count - 1`.

    `pages` is the session's block table: page k holds positions k * page_size to (k + 1) * page_size - 1. Positions
    before `start` must have been appended by earlier steps; whatever was cached from `start` on is overwritten.
    """

    pages: Sequence[int] | np.ndarray | Tensor
    start: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """The cached positions that some queries may see.

    slots: [sessions, longest] int64. Sessions with fewer positions repeat their own last slot: padding must never
           point at memory of another session, whose values (an Inf, say) would get through a mask as 0 * Inf.
    mask:  bool, True = may attend, broadcastable to [sessions, heads, queries, longest]; None where every query sees
           every position.
    """

    slots: Tensor
    mask: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Segments whose attention is one call: all decode segments of a step together, or one prefill segment.

    rows:   the tokens of the batch that belong to the group: a slice where they lie together, else [tokens] int64
    starts: [sessions] position of each session's first query
    count:  queries per session
    table:  [sessions, longest context] slots; what follows a session's own context is never read
    """

    rows: slice | Tensor
    starts: np.ndarray
    count: int
    table: np.ndarray
    device: torch.device
    _contexts: dict[int | None, Context] = field(default_factory=dict)

    def context(self, window: int | None) -> Context:
        """What the group sees of the cache if a query at position p may look back to p - window + 1."""
        if window not in self._contexts:
            self._contexts[window] = self._build_context(window)
        return self._contexts[window]

    def _build_context(self, window: int | None) -> Context:
        lengths = self.starts + self.count
        # Positions that no query of the session sees are not even gathered: a sliding window bounds the work.
        first = np.zeros_like(lengths) if window is None else np.maximum(self.starts - window + 1, 0)
        longest = -(-int((lengths - first).max()) // _WIDTH) * _WIDTH
        keys = first[:, None] + np.arange(longest)  # [sessions, longest] positions
        slots = self.table[np.arange(len(lengths))[:, None], np.minimum(keys, lengths[:, None] - 1)]
        queries = self.starts[:, None] + np.arange(self.count)  # [sessions, queries] positions
        seen = keys[:, None, :] <= queries[:, :, None]
        if window is not None:
            seen &= keys[:, None, :] > queries[:, :, None] - window
        mask = None if seen.all() else torch.from_numpy(seen[:, None]).to(self.device)
        return Context(torch.from_numpy(slots).to(self.device), mask)


@dataclass(frozen=True, slots=True, eq=False)
class PagedBatch:
    """One ragged batch of segments; tokens lie segment after segment in the order given.

    positions: [tokens] int64
    slots:     [tokens] int64, where each token's key and value go
    groups:    how attention is split into calls; together they cover every token once
    """

    positions: Tensor
    slots: Tensor
    groups: tuple[Group, ...]

    @classmethod
    def build(cls, segments: Sequence[Segment], page_size: int, device: torch.device | str = "cpu") -> "PagedBatch":
        """Raises ValueError for an empty batch or segment, a negative start, or too few pages."""
        check_segments(segments, page_size)
        device = torch.device(device)
        tables = [_slot_table(segment, page_size) for segment in segments]
        positions = np.concatenate([np.arange(s.start, s.start + s.count) for s in segments])
        slots = np.concatenate([table[s.start :] for s, table in zip(segments, tables, strict=True)])
        return cls(
            positions=torch.from_numpy(positions).to(device),
            slots=torch.from_numpy(slots).to(device),
            groups=_groups(segments, tables, device),
        )

    @property
    def num_tokens(self) -> int:
        return self.positions.shape[0]


def check_segments(segments: Sequence[Segment], page_size: int) -> None:
    """Raises ValueError for an empty batch or segment, a negative start, or too few pages."""
    if not segments:
        raise ValueError("a batch needs at least one segment")
    for segment in segments:
        start, count = segment.start, segment.count
        if start < 0 or count < 1:
            raise ValueError(f"a segment needs start >= 0 and count >= 1, not start {start}, count {count}")
        if len(segment.pages) * page_size < start + count:
            raise ValueError(f"{len(segment.pages)} pages of {page_size} tokens cannot hold {start + count} tokens")


def _slot_table(segment: Segment, page_size: int) -> np.ndarray:
    """The slots of positions 0 to start + count - 1, [start + count] int64."""
    length = segment.start + segment.count
    pages = np.asarray(segment.pages, dtype=np.int64)[: -(-length // page_size)]
    return (pages[:, None] * page_size + np.arange(page_size)).reshape(-1)[:length]


def _groups(segments: Sequence[Segment], tables: Sequence[np.ndarray], device: torch.device) -> tuple[Group, ...]:
    """One group for all one-token segments, one for each longer segment."""
    first_rows = np.cumsum([0] + [segment.count for segment in segments])
    decode = [index for index, segment in enumerate(segments) if segment.count == 1]
    alone = len(decode) == 1
    groups = [
        Group(
            rows=slice(int(first_rows[index]), int(first_rows[index]) + segment.count),
            starts=np.array([segment.start]),
            count=segment.count,
            table=tables[index][None],
            device=device,
        )
        for index, segment in enumerate(segments)
        if segment.count > 1 or alone
    ]
    if len(decode) > 1:
        groups.append(_decode_group(decode, first_rows, segments, tables, device))
    return tuple(groups)


def _decode_group(
    decode: list[int],
    first_rows: np.ndarray,
    segments: Sequence[Segment],
    tables: Sequence[np.ndarray],
    device: torch.device,
) -> Group:
    rows = first_rows[decode]
    together = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
    starts = np.array([segments[index].start for index in decode])
    longest = int(starts.max()) + 1
    table = np.zeros((len(decode), longest), dtype=np.int64)
    for row, index in zip(table, decode, strict=True):
        row[: len(tables[index])] = tables[index]
    return Group(
        rows=slice(int(rows[0]), int(rows[-1]) + 1) if together else torch.from_numpy(rows).to(device),
        starts=starts,
        count=1,
        table=table,
        device=device,
    )
