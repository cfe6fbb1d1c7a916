"""Products with packed weights: RMSNorm before, bias, activation and residual after, in the same kernel.

RMSNorm is split in three so that no program has to read a whole row of the residual stream first: whoever writes the
stream also writes `gained`, the stream times the next norm's gain, and `squares`, the sum of squares of each 16
columns; the product reads `gained` and multiplies its result by 1 / rms.

Weights are the left operand (their rows are the rows of a tile), dequantised in registers. Every row of a batch goes
through the same instructions in the same order whether the tile of tokens is 16 wide (decode) or 64 (prefill).
"""

import triton
import triton.language as tl

from swarm_kernels.triton.arithmetic import INTERPRETED, cast, dot, tree_sum

SQUARES_WIDTH = 16  # columns of the stream whose squares are summed by the kernel that writes them
_WIDTH = tl.constexpr(SQUARES_WIDTH)
_INTERPRETED = tl.constexpr(INTERPRETED)
_SQUARES_TILE = tl.constexpr(64)  # of those sums, how many are added at a time


@triton.jit
def widen_stream(
    stream: tl.tensor, row: tl.tensor, m: tl.tensor, gain_ptr: tl.tensor, gained_ptr: tl.tensor,
    squares_ptr: tl.tensor, tokens: tl.tensor, rows: tl.tensor, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
) -> None:  # fmt: skip
    """Writes `gained` and `squares` of a tile of the stream [BLOCK_N columns from `row`, BLOCK_M tokens m].

    The tile is float32, and zero outside the stream.
    """
    n = row + tl.arange(0, BLOCK_N)
    inside = (n < rows)[:, None] & (m < tokens)[None, :]
    gain = tl.load(gain_ptr + n, mask=n < rows, other=0.0).to(tl.float32)
    gained = cast(stream * gain[:, None], gained_ptr.dtype.element_ty)
    tl.store(gained_ptr + m[None, :] * rows + n[:, None], gained, inside)
    pieces = tl.reshape(stream * stream, [BLOCK_N // _WIDTH, _WIDTH, BLOCK_M])
    pieces = tl.reshape(tl.trans(pieces, 1, 0, 2), [_WIDTH, BLOCK_N // _WIDTH * BLOCK_M])
    sums = tl.reshape(tree_sum(pieces, _WIDTH, BLOCK_N // _WIDTH * BLOCK_M), [BLOCK_N // _WIDTH, BLOCK_M])
    piece = row // _WIDTH + tl.arange(0, BLOCK_N // _WIDTH)
    inside = (piece * _WIDTH < rows)[:, None] & (m < tokens)[None, :]
    tl.store(squares_ptr + piece[:, None] * tokens + m[None, :], sums, inside)


@triton.jit(do_not_specialize=["tokens"])
def widen_kernel(
    stream_ptr: tl.tensor, gain_ptr: tl.tensor, gained_ptr: tl.tensor, squares_ptr: tl.tensor, tokens: tl.tensor,
    rows: tl.tensor, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
) -> None:  # fmt: skip
    """`gained` and `squares` of the stream that enters a range; stream, gained [tokens, rows]."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.program_id(1) * BLOCK_N
    n = row + tl.arange(0, BLOCK_N)
    inside = (n < rows)[:, None] & (m < tokens)[None, :]
    stream = tl.load(stream_ptr + m[None, :] * rows + n[:, None], inside, other=0.0).to(tl.float32)
    widen_stream(stream, row, m, gain_ptr, gained_ptr, squares_ptr, tokens, rows, BLOCK_N, BLOCK_M)


@triton.jit
def inverse_rms(
    squares_ptr: tl.tensor, m: tl.tensor, tokens: tl.tensor, columns: tl.tensor, eps: tl.tensor, BLOCK_M: tl.constexpr
) -> tl.tensor:
    """1 / rms of the tokens m [BLOCK_M], from the sums of squares [columns / 16, tokens]."""
    pieces = tl.cdiv(columns, _WIDTH)
    total = tl.zeros((_SQUARES_TILE, BLOCK_M), tl.float32)
    for start in range(0, pieces, _SQUARES_TILE):
        piece = start + tl.arange(0, _SQUARES_TILE)
        inside = (piece < pieces)[:, None] & (m < tokens)[None, :]
        total += tl.load(squares_ptr + piece[:, None] * tokens + m[None, :], inside, other=0.0)
    return 1.0 / tl.sqrt_rn(tree_sum(total, _SQUARES_TILE, BLOCK_M) / columns + eps)


@triton.jit
def load_input(x_ptr: tl.tensor, k: tl.tensor, m: tl.tensor, tokens: tl.tensor, columns: tl.tensor) -> tl.tensor:
    """Columns k of tokens m, transposed: [BLOCK_K, BLOCK_M]."""
    inside = (k < columns)[:, None] & (m < tokens)[None, :]
    return tl.load(x_ptr + m[None, :] * columns + k[:, None], inside, other=0.0)


@triton.jit
def look_up(levels_ptr: tl.tensor, codes: tl.tensor) -> tl.tensor:
    """The levels [16] float32 of codes 0 to 15."""
    if _INTERPRETED:
        return tl.load(levels_ptr + codes)
    else:
        # A tl.load here would be pipelined: every level copied to shared memory by itself, to be read again from there.
        address = levels_ptr.to(tl.int64) + codes.to(tl.int64) * 4
        return tl.inline_asm_elementwise(
            "ld.global.nc.f32 $0, [$1];", "=f,l", [address], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def dequantize(
    codes: tl.tensor, scale_ptr: tl.tensor, levels_ptr: tl.tensor, KIND: tl.constexpr, GROUP: tl.constexpr
) -> tl.tensor:
    """codes [rows, K] small integers -> their values, float32; scale_ptr: where the scales of these rows begin."""
    ROWS: tl.constexpr = codes.shape[0]
    GROUPS: tl.constexpr = codes.shape[1] // GROUP
    scale = tl.load(scale_ptr + tl.arange(0, ROWS)[:, None] * GROUPS + tl.arange(0, GROUPS)[None, :])[:, :, None]
    if KIND == "int8":
        values = tl.reshape(codes.to(tl.float32), [ROWS, GROUPS, GROUP]) * scale.to(tl.float32)
    elif KIND == "int4":
        # Two float16 in one int32: a load of 4 bytes or more can be copied to shared memory ahead of its use.
        minimum = (scale >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        scale = (scale & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        values = tl.fma(tl.reshape(codes.to(tl.float32), [ROWS, GROUPS, GROUP]), scale, minimum)
    else:
        tl.static_assert(KIND == "nf4")
        values = tl.reshape(look_up(levels_ptr, codes), [ROWS, GROUPS, GROUP]) * scale
    return tl.reshape(values, [ROWS, GROUPS * GROUP])


@triton.jit
def add_panel(
    acc: tl.tensor, x: tl.tensor, x_high: tl.tensor, codes_ptr: tl.tensor, scale_ptr: tl.tensor, levels_ptr: tl.tensor,
    panel: "tl.tensor | int", row: tl.tensor, padded_rows: tl.tensor, KIND: tl.constexpr, GROUP: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK_N: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """acc + the product of rows `row` to row + BLOCK_N - 1 of one panel with its columns of the input.

    x [columns, BLOCK_M]; x_high the second half of the columns, for formats of four bits.
    """
    first = (panel * padded_rows + row).to(tl.int64)
    codes_ptr += first * WIDTH
    codes = tl.load(codes_ptr + tl.arange(0, BLOCK_N)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :])
    if KIND == "dense":
        acc = dot(codes, x, acc)
    elif KIND == "int8":
        values = dequantize(codes, scale_ptr + first * (WIDTH // GROUP), levels_ptr, KIND, GROUP)
        acc = dot(cast(values, x.dtype), x, acc)
    else:
        scale_ptr += (first * 2 - row) * (WIDTH // GROUP)
        low = dequantize(codes & 15, scale_ptr, levels_ptr, KIND, GROUP)
        acc = dot(cast(low, x.dtype), x, acc)
        high = dequantize(codes >> 4, scale_ptr + padded_rows * (WIDTH // GROUP), levels_ptr, KIND, GROUP)
        acc = dot(cast(high, x.dtype), x_high, acc)
    return acc


@triton.jit
def load_inputs(
    x_ptr: tl.tensor, panel: "tl.tensor | int", m: tl.tensor, tokens: tl.tensor, columns: tl.tensor,
    KIND: tl.constexpr, WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """The columns of a panel: both halves for formats of four bits, else all of them, twice."""
    if (KIND == "int4") | (KIND == "nf4"):
        k = panel * (2 * WIDTH) + tl.arange(0, WIDTH)
        return load_input(x_ptr, k, m, tokens, columns), load_input(x_ptr, k + WIDTH, m, tokens, columns)
    else:
        k = panel * WIDTH + tl.arange(0, WIDTH)
        x = load_input(x_ptr, k, m, tokens, columns)
        return x, x


@triton.jit(do_not_specialize=["tokens"])
def product_kernel(
    x_ptr: tl.tensor, codes_ptr: tl.tensor, scale_ptr: tl.tensor, levels_ptr: tl.tensor, bias_ptr: "tl.tensor | None",
    in_squares_ptr: "tl.tensor | None", residual_ptr: "tl.tensor | None", out_ptr: tl.tensor,
    gain_ptr: "tl.tensor | None", gained_ptr: tl.tensor, squares_ptr: tl.tensor, tokens: tl.tensor, rows: tl.tensor,
    padded_rows: tl.tensor, columns: tl.tensor, panels: tl.tensor, eps: tl.tensor, KIND: tl.constexpr,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
) -> None:  # fmt: skip
    """out [tokens, rows] = x @ weight.T (/ rms) (+ bias) (+ residual); with a gain also `gained` and `squares` of out.

    Pointers that do not apply are None. in_squares_ptr: x is `gained`, and these are the squares of its stream.
    """
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.program_id(1) * BLOCK_N
    acc = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    for panel in range(panels):
        x, x_high = load_inputs(x_ptr, panel, m, tokens, columns, KIND, WIDTH)
        acc = add_panel(
            acc, x, x_high, codes_ptr, scale_ptr, levels_ptr, panel, row, padded_rows,
            KIND, GROUP, WIDTH, BLOCK_N,
        )  # fmt: skip
    n = row + tl.arange(0, BLOCK_N)
    inside = (n < rows)[:, None] & (m < tokens)[None, :]
    where = m[None, :] * rows + n[:, None]
    if in_squares_ptr is not None:
        acc *= inverse_rms(in_squares_ptr, m, tokens, columns, eps, BLOCK_M)[None, :]
    if bias_ptr is not None:
        acc += tl.load(bias_ptr + n, mask=n < rows, other=0.0).to(tl.float32)[:, None]
    if residual_ptr is not None:
        acc += tl.load(residual_ptr + where, inside, other=0.0).to(tl.float32)
    out = cast(acc, out_ptr.dtype.element_ty)
    tl.store(out_ptr + where, out, inside)
    if gain_ptr is not None:
        stream = tl.where(inside, out.to(tl.float32), 0.0)
        widen_stream(stream, row, m, gain_ptr, gained_ptr, squares_ptr, tokens, rows, BLOCK_N, BLOCK_M)


@triton.jit
def activate(x: tl.tensor, ACTIVATION: tl.constexpr) -> tl.tensor:
    """x float32; the names of reference.ACTIVATIONS, aliases resolved."""
    if ACTIVATION == "silu":
        return x / (1.0 + tl.exp(-x))
    elif ACTIVATION == "gelu":
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == "gelu_tanh":
        inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        return x / (1.0 + tl.exp(-2.0 * inner))  # 0.5 * (1 + tanh(y)) = 1 / (1 + exp(-2y))
    else:
        tl.static_assert(ACTIVATION == "relu")
        return tl.maximum(x, 0.0)


@triton.jit(do_not_specialize=["tokens"])
def gated_kernel(
    x_ptr: tl.tensor, gate_ptr: tl.tensor, gate_scale_ptr: tl.tensor, gate_bias_ptr: "tl.tensor | None",
    up_ptr: tl.tensor, up_scale_ptr: tl.tensor, up_bias_ptr: tl.tensor, levels_ptr: tl.tensor,
    in_squares_ptr: tl.tensor, out_ptr: tl.tensor, tokens: tl.tensor, rows: tl.tensor, padded_rows: tl.tensor,
    columns: tl.tensor, panels: tl.tensor, eps: tl.tensor, ACTIVATION: tl.constexpr, KIND: tl.constexpr,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
) -> None:  # fmt: skip
    """out [tokens, rows] = activation(x @ gate.T / rms (+ bias)) * (x @ up.T / rms (+ bias)); x is `gained`."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    row = tl.program_id(1) * BLOCK_N
    gate = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    up = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    for panel in range(panels):
        x, x_high = load_inputs(x_ptr, panel, m, tokens, columns, KIND, WIDTH)
        gate = add_panel(
            gate, x, x_high, gate_ptr, gate_scale_ptr, levels_ptr, panel, row, padded_rows,
            KIND, GROUP, WIDTH, BLOCK_N,
        )  # fmt: skip
        up = add_panel(
            up, x, x_high, up_ptr, up_scale_ptr, levels_ptr, panel, row, padded_rows,
            KIND, GROUP, WIDTH, BLOCK_N,
        )  # fmt: skip
    n = row + tl.arange(0, BLOCK_N)
    scale = inverse_rms(in_squares_ptr, m, tokens, columns, eps, BLOCK_M)[None, :]
    gate *= scale
    up *= scale
    if gate_bias_ptr is not None:
        gate += tl.load(gate_bias_ptr + n, mask=n < rows, other=0.0).to(tl.float32)[:, None]
        up += tl.load(up_bias_ptr + n, mask=n < rows, other=0.0).to(tl.float32)[:, None]
    out = activate(gate, ACTIVATION) * up
    inside = (n < rows)[:, None] & (m < tokens)[None, :]
    tl.store(out_ptr + m[None, :] * rows + n[:, None], cast(out, out_ptr.dtype.element_ty), inside)
