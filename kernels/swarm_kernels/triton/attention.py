"""Causal grouped-query attention over a paged cache: decode in splits of the context, prefill in tiles of queries.

A context is cut at fixed positions into splits of SPLIT positions. Each split has its own softmax (FlashDecoding, Dao
et al. 2023), and splits are merged in order. Decode does so in two kernels, prefill in one; the arithmetic of a query
is the same in both, so its bits depend neither on its batch nor on how a prompt was cut into chunks.

Positions become slots through the block table one by one: where pages lie, and their size, does not matter either.
"""

import triton
import triton.language as tl

from swarm_kernels.triton.arithmetic import cast, dot

SPLIT = 256  # positions
TILE = 64  # positions read at a time
_SPLIT = tl.constexpr(SPLIT)
_TILE = tl.constexpr(TILE)
_ONES = tl.constexpr(16)  # columns of ones that sum up probabilities: the narrowest product


@triton.jit
def load_cache(
    pool_ptr: tl.tensor, scales_ptr: "tl.tensor | None", slot: tl.tensor, seen: tl.tensor, head: tl.tensor,
    d: tl.tensor, NUM_KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor | None]:  # fmt: skip
    """Rows [TILE, BLOCK_D] of one head, and their scales [TILE] float32 or None; zeros where not `seen`."""
    row = slot * NUM_KV_HEADS + head
    inside = seen[:, None] & (d < HEAD_DIM)[None, :]
    rows = tl.load(pool_ptr + row[:, None] * HEAD_DIM + d[None, :], inside, other=0)
    if scales_ptr is None:
        return rows, None
    else:
        return rows, tl.load(scales_ptr + row, seen, other=0.0)


@triton.jit
def attend_split(
    query: tl.tensor, position: tl.tensor, first: tl.tensor, stop: tl.tensor, head: tl.tensor, table_ptr: tl.tensor,
    keys_ptr: tl.tensor, values_ptr: tl.tensor, key_scales_ptr: "tl.tensor | None",
    value_scales_ptr: "tl.tensor | None", scale: tl.tensor, window: tl.tensor, NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr, PAGE_SIZE: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """The softmax of queries [ROWS, BLOCK_D] at `position` [ROWS] over cached positions first to stop - 1.

    `first` is a multiple of TILE. Returns for each row the largest score [ROWS], the sum of exponentials [ROWS, 16]
    (16 equal columns) and the weighted values [ROWS, BLOCK_D], float32: -inf, 0 and 0 for a row that sees nothing.
    """
    d = tl.arange(0, BLOCK_D)
    ones = tl.full((_TILE, _ONES), 1.0, tl.float32).to(query.dtype)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS, _ONES), tl.float32)
    acc = tl.zeros((ROWS, BLOCK_D), tl.float32)
    for start in range(first, stop, _TILE):
        at = start + tl.arange(0, _TILE)
        seen = at < stop
        page = tl.load(table_ptr + at // PAGE_SIZE, seen, other=0).to(tl.int64)
        slot = page * PAGE_SIZE + at % PAGE_SIZE
        key, key_scale = load_cache(keys_ptr, key_scales_ptr, slot, seen, head, d, NUM_KV_HEADS, HEAD_DIM)
        score = dot(query, cast(tl.trans(key), query.dtype), tl.zeros((ROWS, _TILE), tl.float32)) * scale
        if key_scale is not None:
            score *= key_scale[None, :]
        visible = (at[None, :] <= position[:, None]) & (at[None, :] > position[:, None] - window)
        score = tl.where(visible, score, float("-inf"))
        new_top = tl.maximum(top, tl.max(score, axis=1))
        shift = tl.where(new_top == float("-inf"), 0.0, new_top)
        weight = tl.exp(score - shift[:, None])
        shrink = tl.exp(top - shift)[:, None]
        total = dot(cast(weight, query.dtype), ones, total * shrink)
        value, value_scale = load_cache(values_ptr, value_scales_ptr, slot, seen, head, d, NUM_KV_HEADS, HEAD_DIM)
        if value_scale is not None:
            weight *= value_scale[None, :]
        acc = dot(cast(weight, query.dtype), cast(value, query.dtype), acc * shrink)
        top = new_top
    return top, total, acc


@triton.jit
def merge(
    top: tl.tensor, total: tl.tensor, acc: tl.tensor, split_top: tl.tensor, split_total: tl.tensor,
    split_acc: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Two softmaxes as one; tops [ROWS], totals and accs [ROWS, any]."""
    new_top = tl.maximum(top, split_top)
    shift = tl.where(new_top == float("-inf"), 0.0, new_top)
    left = tl.exp(top - shift)[:, None]
    right = tl.exp(split_top - shift)[:, None]
    return new_top, total * left + split_total * right, acc * left + split_acc * right


@triton.jit(do_not_specialize=["window", "splits"])
def decode_kernel(
    query_ptr: tl.tensor, rows_ptr: tl.tensor, sessions_ptr: tl.tensor, positions_ptr: tl.tensor, table_ptr: tl.tensor,
    keys_ptr: tl.tensor, values_ptr: tl.tensor, key_scales_ptr: "tl.tensor | None",
    value_scales_ptr: "tl.tensor | None", tops_ptr: tl.tensor, totals_ptr: tl.tensor, accs_ptr: tl.tensor,
    scale: tl.tensor, window: tl.tensor, table_width: tl.tensor, splits: tl.tensor, NUM_KV_HEADS: tl.constexpr,
    REPEATS: tl.constexpr, HEAD_DIM: tl.constexpr, PAGE_SIZE: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
) -> None:  # fmt: skip
    """One program is one split of one KV head for one decoding token; all its query heads are the rows of a product.

    query [tokens, heads, head_dim]; rows, sessions [items] int32: each item's token and line of the block table
    [sessions, table_width] int32; positions [tokens] int32, -1 for a row that is padding. Writes tops and totals
    [items, heads, splits] and accs [items, heads, splits, BLOCK_D], float32, for those splits that have positions.
    """
    item = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    split = tl.program_id(2)
    token = tl.load(rows_ptr + item).to(tl.int64)
    position = tl.load(positions_ptr + token)
    stop = tl.minimum((split + 1) * _SPLIT, position + 1)
    if (split * _SPLIT < stop) & ((split + 1) * _SPLIT > position - window + 1):
        first = tl.maximum(split * _SPLIT, tl.maximum(position - window + 1, 0) // _TILE * _TILE)
        r = tl.arange(0, ROWS)
        d = tl.arange(0, BLOCK_D)
        head_row = head * REPEATS + r
        inside = (r < REPEATS)[:, None] & (d < HEAD_DIM)[None, :]
        at = (token * (NUM_KV_HEADS * REPEATS) + head_row)[:, None] * HEAD_DIM + d[None, :]
        query = tl.load(query_ptr + at, inside, other=0.0)
        table_ptr += tl.load(sessions_ptr + item).to(tl.int64) * table_width
        top, total, acc = attend_split(
            query, tl.zeros((ROWS,), tl.int32) + position, first, stop, head, table_ptr, keys_ptr, values_ptr,
            key_scales_ptr, value_scales_ptr, scale, window, NUM_KV_HEADS, HEAD_DIM, PAGE_SIZE, ROWS, BLOCK_D,
        )  # fmt: skip
        to = (item * (NUM_KV_HEADS * REPEATS) + head_row) * splits + split
        tl.store(tops_ptr + to, top, r < REPEATS)
        tl.store(totals_ptr + to, tl.max(total, axis=1), r < REPEATS)
        tl.store(accs_ptr + to[:, None] * BLOCK_D + d[None, :], acc, (r < REPEATS)[:, None])


@triton.jit(do_not_specialize=["window", "splits"])
def combine_kernel(
    rows_ptr: tl.tensor, positions_ptr: tl.tensor, tops_ptr: tl.tensor, totals_ptr: tl.tensor, accs_ptr: tl.tensor,
    out_ptr: tl.tensor, window: tl.tensor, splits: tl.tensor, NUM_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:  # fmt: skip
    """Merges the splits of one query head in order; out [tokens, heads, head_dim].

    A kernel of its own: inside the product that follows, each of its programs would have to merge every head again.
    """
    item = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    token = tl.load(rows_ptr + item).to(tl.int64)
    position = tl.load(positions_ptr + token)
    one = tl.arange(0, 1)
    d = tl.arange(0, BLOCK_D)
    top = tl.full((1,), float("-inf"), tl.float32)
    total = tl.zeros((1, 1), tl.float32)
    acc = tl.zeros((1, BLOCK_D), tl.float32)
    for split in range(tl.maximum(position - window + 1, 0) // _SPLIT, (position + _SPLIT) // _SPLIT):
        at = (item * NUM_HEADS + head) * splits + split + one
        split_acc = tl.load(accs_ptr + at[:, None] * BLOCK_D + d[None, :])
        split_top, split_total = tl.load(tops_ptr + at), tl.load(totals_ptr + at)[:, None]
        top, total, acc = merge(top, total, acc, split_top, split_total, split_acc)
    out = acc / tl.where(total == 0.0, 1.0, total)
    to = out_ptr + (token * NUM_HEADS + head) * HEAD_DIM + one[:, None] + d[None, :]
    tl.store(to, cast(out, out_ptr.dtype.element_ty), (d < HEAD_DIM)[None, :])


@triton.jit(do_not_specialize=["window"])
def prefill_kernel(
    query_ptr: tl.tensor, rows_ptr: tl.tensor, counts_ptr: tl.tensor, sessions_ptr: tl.tensor,
    positions_ptr: tl.tensor, table_ptr: tl.tensor, keys_ptr: tl.tensor, values_ptr: tl.tensor,
    key_scales_ptr: "tl.tensor | None", value_scales_ptr: "tl.tensor | None", out_ptr: tl.tensor, scale: tl.tensor,
    window: tl.tensor, table_width: tl.tensor, NUM_KV_HEADS: tl.constexpr, REPEATS: tl.constexpr,
    REPEATS_POWER: tl.constexpr, HEAD_DIM: tl.constexpr, PAGE_SIZE: tl.constexpr, ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:  # fmt: skip
    """One program is one KV head for a tile of consecutive tokens of one session, which see what was cached before.

    rows, counts, sessions [tiles] int32: a tile's first token, how many (at most ROWS // REPEATS_POWER), and its line
    of the block table; query, out [tokens, heads, head_dim]; the rest as in decode_kernel.
    """
    tile = tl.program_id(0)
    head = tl.program_id(1)
    first_token = tl.load(rows_ptr + tile).to(tl.int64)
    count = tl.load(counts_ptr + tile)
    table_ptr += tl.load(sessions_ptr + tile).to(tl.int64) * table_width
    r = tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK_D)
    inside = (r // REPEATS_POWER < count) & (r % REPEATS_POWER < REPEATS)
    head_row = (first_token + r // REPEATS_POWER) * (NUM_KV_HEADS * REPEATS) + head * REPEATS + r % REPEATS_POWER
    at = head_row[:, None] * HEAD_DIM + d[None, :]
    all_inside = inside[:, None] & (d < HEAD_DIM)[None, :]
    query = tl.load(query_ptr + at, all_inside, other=0.0)
    start = tl.load(positions_ptr + first_token)
    position = start + r // REPEATS_POWER
    last = start + count
    first = tl.maximum(start - window + 1, 0) // _TILE * _TILE
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS, _ONES), tl.float32)
    acc = tl.zeros((ROWS, BLOCK_D), tl.float32)
    for split in range(first // _SPLIT, (last + _SPLIT - 1) // _SPLIT):
        split_top, split_total, split_acc = attend_split(
            query, position, tl.maximum(split * _SPLIT, first), tl.minimum((split + 1) * _SPLIT, last), head,
            table_ptr, keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr, scale, window,
            NUM_KV_HEADS, HEAD_DIM, PAGE_SIZE, ROWS, BLOCK_D,
        )  # fmt: skip
        top, total, acc = merge(top, total, acc, split_top, split_total, split_acc)
    whole = tl.max(total, axis=1)[:, None]
    out = acc / tl.where(whole == 0.0, 1.0, whole)
    tl.store(out_ptr + at, cast(out, out_ptr.dtype.element_ty), all_inside)
