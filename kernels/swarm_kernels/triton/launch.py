"""The kernels as functions of tensors: grids, constants and outputs."""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from swarm_kernels.triton import attention, product, rope
from swarm_kernels.triton.layout import TritonBatch, Work, query_rows
from swarm_kernels.triton.tiles import Tile, TileCache, block_m
from swarm_kernels.triton.weights import PackedWeight

# Names of reference.ACTIVATIONS -> what product.activate calls them.
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

# Multiplications and additions fuse where kernels say tl.fma, and nowhere else: the default differs between versions.
_EXACT = {"enable_fp_fusion": False}

_NO_WINDOW = 1 << 30

TILES = TileCache()


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The residual stream, and what the next RMSNorm needs of it.

    hidden, gained: [tokens, hidden]; squares: [hidden / 16, tokens] float32. After the last block there is only hidden.
    """

    hidden: Tensor
    gained: Tensor | None = None
    squares: Tensor | None = None

    @property
    def widened(self) -> Tensor:
        """`gained`, where a norm follows. Raises ValueError after the last block."""
        if self.gained is None:
            raise ValueError("a stream that was not widened for a norm")
        return self.gained


@dataclass(frozen=True, slots=True)
class Pools:
    """A block's cache: pools [num_pages, page_size, num_kv_heads, head_dim], float or int8.

    int8 pools have scales [num_pages, page_size, num_kv_heads] float32, one for each token and head.
    """

    keys: Tensor
    values: Tensor
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    @classmethod
    def empty(
        cls, num_pages: int, page_size: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> "Pools":
        shape = (num_pages, page_size, num_kv_heads, head_dim)
        pools = (torch.empty(shape, dtype=dtype, device=device) for _ in "kv")
        quantized = dtype == torch.int8
        scales = (torch.empty(shape[:3], dtype=torch.float32, device=device) if quantized else None for _ in "kv")
        return cls(*pools, *scales)


def tile_key(kernel: str, weight: PackedWeight) -> str:
    device = weight.codes.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name} {kernel} {weight.kind} g{weight.group} {weight.codes.dtype} {weight.rows}x{weight.columns}"


def widen(hidden: Tensor, gain: Tensor) -> Stream:
    """hidden [tokens, hidden] as the stream that enters a block whose first norm has `gain` [hidden]."""
    tokens, rows = hidden.shape
    gained, squares = _widened(hidden)
    grid = (triton.cdiv(tokens, 16), triton.cdiv(rows, 64))
    product.widen_kernel[grid](
        hidden, gain, gained, squares, tokens, rows, BLOCK_N=64, BLOCK_M=16, num_warps=4, **_EXACT
    )
    return Stream(hidden, gained, squares)


def multiply(
    x: Tensor,
    weight: PackedWeight,
    *,
    squares: Tensor | None = None,
    eps: float = 0.0,
    residual: Tensor | None = None,
    gain: Tensor | None = None,
    tile: Tile | None = None,
) -> Stream:
    """x [tokens, columns] @ weight.T (+ bias) (+ residual [tokens, rows]); with a gain [rows] widened for a next norm.

    squares: x is the `gained` of a stream with these; the product then is of its RMSNorm.
    """
    tokens, columns = x.shape
    _check(x, weight)
    out = x.new_empty(tokens, weight.rows)
    gained, next_squares = (None, None) if gain is None else _widened(out)
    width = block_m(tokens)
    tile = tile or TILES.tile(tile_key("product", weight), tokens)
    grid = (triton.cdiv(tokens, width), triton.cdiv(weight.rows, tile.block_n))
    product.product_kernel[grid](
        x, weight.codes, weight.scale, weight.levels, weight.bias, squares, residual, out,
        gain, gained, next_squares, tokens, weight.rows, weight.padded_rows, columns, weight.codes.shape[0], eps,
        GROUP=weight.group, KIND=weight.kind, WIDTH=weight.codes.shape[2],
        BLOCK_N=tile.block_n, BLOCK_M=width, num_warps=tile.num_warps, num_stages=tile.num_stages, **_EXACT,
    )  # fmt: skip
    return Stream(out, gained, next_squares)


def multiply_gated(
    stream: Stream, gate: PackedWeight, up: PackedWeight, eps: float, activation: str, tile: Tile | None = None
) -> Tensor:
    """activation(norm @ gate.T) * (norm @ up.T), [tokens, rows], of the RMSNorm of a widened stream."""
    x = stream.widened
    tokens, columns = x.shape
    _check(x, gate)
    out = x.new_empty(tokens, gate.rows)
    width = block_m(tokens)
    tile = tile or TILES.tile(tile_key("gated", gate), tokens)
    grid = (triton.cdiv(tokens, width), triton.cdiv(gate.rows, tile.block_n))
    product.gated_kernel[grid](
        x, gate.codes, gate.scale, gate.bias, up.codes, up.scale, up.bias, gate.levels,
        stream.squares, out, tokens, gate.rows, gate.padded_rows, columns, gate.codes.shape[0], eps,
        ACTIVATION=ACTIVATIONS[activation], GROUP=gate.group, KIND=gate.kind,
        WIDTH=gate.codes.shape[2], BLOCK_N=tile.block_n, BLOCK_M=width,
        num_warps=tile.num_warps, num_stages=tile.num_stages, **_EXACT,
    )  # fmt: skip
    return out


def rotate_and_append(
    qkv: Tensor, batch: TritonBatch, pools: Pools, q_norm: Tensor | None, k_norm: Tensor | None, eps: float
) -> Tensor:
    """qkv [tokens, (heads + 2 * kv heads) * head_dim] -> rotated queries [tokens, heads, head_dim]."""
    num_kv_heads, head_dim = pools.keys.shape[2:]
    tokens = qkv.shape[0]
    heads = qkv.shape[1] // head_dim
    query = qkv.new_empty(tokens, heads - 2 * num_kv_heads, head_dim)
    rope.rope_append_kernel[(tokens, heads)](
        qkv, query, batch.cos, batch.sin, batch.slots, q_norm, k_norm,
        pools.keys, pools.values, pools.key_scales, pools.value_scales, eps,
        NUM_HEADS=query.shape[1], NUM_KV_HEADS=num_kv_heads, HALF=head_dim // 2,
        BLOCK_HALF=triton.next_power_of_2(head_dim // 2), num_warps=1, **_EXACT,
    )  # fmt: skip
    return query


def attend(query: Tensor, batch: TritonBatch, pools: Pools, window: int | None) -> Tensor:
    """query [tokens, heads, head_dim] -> [tokens, heads * head_dim], over what the sessions have cached."""
    out = torch.empty_like(query)
    page_size, num_kv_heads, head_dim = pools.keys.shape[1:]
    repeats = query.shape[1] // num_kv_heads
    shape = {
        "NUM_KV_HEADS": num_kv_heads,
        "REPEATS": repeats,
        "HEAD_DIM": head_dim,
        "PAGE_SIZE": page_size,
        "BLOCK_D": max(16, triton.next_power_of_2(head_dim)),
    }
    window = _NO_WINDOW if window is None else window
    if batch.decode is not None:
        _decode(query, out, batch, batch.decode, pools, window, shape)
    if batch.prefill is not None:
        tiles = batch.prefill
        prefill = attention.prefill_kernel[(tiles.rows.shape[0], num_kv_heads)]
        prefill(
            query, tiles.rows, tiles.counts, tiles.sessions, batch.positions, batch.table, pools.keys, pools.values,
            pools.key_scales, pools.value_scales, out, head_dim**-0.5, window, batch.table.shape[1],
            REPEATS_POWER=triton.next_power_of_2(repeats), ROWS=query_rows(repeats), **shape,
            num_warps=8, num_stages=2, **_EXACT,
        )  # fmt: skip
    return out.flatten(1)


def _decode(
    query: Tensor, out: Tensor, batch: TritonBatch, work: Work, pools: Pools, window: int, shape: dict[str, int]
) -> None:
    items, heads, head_dim = work.rows.shape[0], query.shape[1], query.shape[2]
    splits, block_d = batch.splits, shape["BLOCK_D"]
    tops, totals = query.new_empty(2, items, heads, splits, dtype=torch.float32)
    accs = query.new_empty(items, heads, splits, block_d, dtype=torch.float32)
    decode = attention.decode_kernel[(items, shape["NUM_KV_HEADS"], splits)]
    decode(
        query, work.rows, work.sessions, batch.positions, batch.table, pools.keys, pools.values,
        pools.key_scales, pools.value_scales, tops, totals, accs, head_dim**-0.5, window, batch.table.shape[1], splits,
        ROWS=max(16, triton.next_power_of_2(shape["REPEATS"])), **shape, num_warps=4, num_stages=2, **_EXACT,
    )  # fmt: skip
    attention.combine_kernel[(items, heads)](
        work.rows, batch.positions, tops, totals, accs, out, window, splits,
        NUM_HEADS=heads, HEAD_DIM=head_dim, BLOCK_D=block_d, num_warps=1, **_EXACT,
    )  # fmt: skip


def _widened(stream: Tensor) -> tuple[Tensor, Tensor]:
    tokens, rows = stream.shape
    pieces = triton.cdiv(rows, product.SQUARES_WIDTH)
    return torch.empty_like(stream), stream.new_empty(pieces, tokens, dtype=torch.float32)


def _check(x: Tensor, weight: PackedWeight) -> None:
    """Kernels read by plain offsets, so what they are given has to be what they think it is."""
    if not x.is_contiguous() or x.shape[1] != weight.columns:
        raise ValueError(f"an input {tuple(x.shape)} for a weight of {weight.columns} columns, or not contiguous")
    if weight.kind == "dense" and x.dtype != weight.codes.dtype:
        raise ValueError(f"an input of {x.dtype} for a weight of {weight.codes.dtype}")
