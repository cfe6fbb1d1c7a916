"""The Triton kernels, in triton's interpreter: they agree with float64 formulas, and a token's bits are its own.

The interpreter has to be chosen before triton is imported, and another test compiles the same kernels, so the checks
here run in one child process.
"""
# ruff: noqa: E402 (without triton the rest cannot be imported)

import atexit
import functools
import math
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed (extra `cuda`)")

from swarm_kernels import (
    ACTIVATIONS,
    BlockSpec,
    BlockWeights,
    Linear,
    PagedBatch,
    Segment,
    decoder_block,
    rotary_table,
)
from swarm_kernels.quant import FORMATS, QuantWeight, quantize
from swarm_kernels.triton import Pools, TritonRange, TritonWeights, launch, pack, unpack
from swarm_kernels.triton.backend import TritonBackend
from swarm_kernels.triton.layout import TritonBatch
from swarm_kernels.triton.tiles import CANDIDATES, Tile, TileCache
from swarm_kernels.triton.weights import split_rows

INTERPRETED = bool(triton.knobs.runtime.interpret)
if INTERPRETED:
    torch.set_num_threads(1)

PAGE = 4
EPS = 1e-5
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}  # of the largest magnitude
DTYPES = list(TOLERANCE)
DENSE_AND_QUANT = ["dense", *FORMATS]


@functools.cache
def _child() -> ProcessPoolExecutor:
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        pool.submit(int).result()  # starts the process, with this environment
    finally:
        del os.environ["TRITON_INTERPRET"]
    atexit.register(pool.shutdown)
    return pool


def _call(name: str, arguments: dict) -> None:
    getattr(sys.modules[__name__], name)(**arguments)


def interpreted(test):
    """Runs a test in the child; there, where this module is imported again, it is the test itself."""
    if INTERPRETED:
        return test
    return functools.wraps(test)(lambda **arguments: _child().submit(_call, test.__name__, arguments).result())


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert actual.isfinite().all(), "not finite"
    error = float((actual.double() - expected).abs().max() / expected.abs().max())
    assert error < tolerance, f"off by {error:.1e} of the largest magnitude, more than {tolerance:.1e}"


def assert_same_bits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    different = int((actual != expected).sum())
    assert torch.equal(actual, expected), f"{different} of {expected.numel()} values differ"


def weight_in(format: str, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor | QuantWeight:
    weight = torch.randn(rows, columns) / columns**0.5
    return weight.to(dtype) if format == "dense" else quantize(weight, FORMATS[format])


def double(weight: torch.Tensor | QuantWeight | None, dtype: torch.dtype) -> torch.Tensor | int:
    """What a kernel that computes in `dtype` takes the weight for, in float64."""
    if weight is None:
        return 0
    return (weight.dequantize(dtype) if isinstance(weight, QuantWeight) else weight).double()


def norm(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * gain.double()


# Packing


@pytest.mark.parametrize("format", DENSE_AND_QUANT)
def test_unpacking_gives_back_what_was_packed(format):
    weight = weight_in(format, 50, 448, torch.bfloat16)
    codes, scale, minimum = unpack(pack(weight))
    if format == "dense":
        assert torch.equal(codes, weight)
        return
    assert torch.equal(codes, weight.codes)
    assert torch.equal(scale, weight.scale)
    assert (minimum is None) == (weight.minimum is None)
    assert minimum is None or torch.equal(minimum, weight.minimum)


@pytest.mark.parametrize(
    ("format", "bits"), [("dense", 16), ("int8", 8.5), ("int4", 5), ("int4-g64", 4.5), ("nf4", 4.5)]
)
def test_a_packed_weight_is_no_larger_than_its_format(format, bits):
    packed = pack(weight_in(format, 128, 256, torch.bfloat16))
    tensors = (packed.codes, packed.scale, packed.bias)
    assert sum(tensor.nbytes for tensor in tensors if tensor is not None) == 128 * 256 * bits / 8


# Products


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", DENSE_AND_QUANT)
@interpreted
def test_a_product_of_a_norm_is_the_formula(format, dtype):
    torch.manual_seed(0)
    weight, bias = weight_in(format, 40, 320, dtype), torch.randn(40).to(dtype)
    hidden, gain = (torch.randn(5, 320) * 3).to(dtype), (torch.rand(320) + 0.5).to(dtype)
    stream = launch.widen(hidden, gain)
    out = launch.multiply(stream.gained, pack(weight, bias), squares=stream.squares, eps=EPS).hidden
    assert_close(out, norm(hidden.double(), gain) @ double(weight, dtype).T + bias.double(), TOLERANCE[dtype])


@pytest.mark.parametrize("tokens", [1, 17])
@pytest.mark.parametrize("format", DENSE_AND_QUANT)
@interpreted
def test_a_product_with_a_residual_prepares_the_next_norm(format, tokens):
    torch.manual_seed(1)
    weight, bias = weight_in(format, 72, 192, torch.float32), torch.randn(72)
    x, residual, gain = torch.randn(tokens, 192), torch.randn(tokens, 72), torch.rand(72) + 0.5
    stream = launch.multiply(x, pack(weight, bias), residual=residual, gain=gain)
    expected = x.double() @ double(weight, torch.float32).T + bias + residual
    assert_close(stream.hidden, expected, 2e-6)
    assert_close(stream.gained, expected * gain, 2e-6)
    assert_close(stream.squares.sum(0), expected.square().sum(-1), 2e-6)


@pytest.mark.parametrize(
    ("format", "activation"),
    [*((format, "silu") for format in DENSE_AND_QUANT), *(("dense", activation) for activation in ACTIVATIONS)],
)
@interpreted
def test_gate_and_up_are_the_formula(format, activation):
    torch.manual_seed(2)
    fused, bias = weight_in(format, 96, 192, torch.float32), torch.randn(96)
    hidden, gain = torch.randn(3, 192), torch.rand(192) + 0.5
    gate, up = (pack(half, b) for half, b in zip(split_rows(fused, 2), bias.chunk(2), strict=True))
    out = launch.multiply_gated(launch.widen(hidden, gain), gate, up, EPS, activation)
    first, second = (norm(hidden.double(), gain) @ double(fused, torch.float32).T + bias).chunk(2, -1)
    assert_close(out, ACTIVATIONS[activation](first) * second, 4e-6)


@interpreted
def test_tiles_do_not_change_bits():
    torch.manual_seed(3)
    for format in DENSE_AND_QUANT:
        weight, x = pack(weight_in(format, 64, 256, torch.bfloat16)), torch.randn(4, 256).bfloat16()
        wide, narrow = (launch.multiply(x, weight, gain=x[0, :64].clone(), tile=Tile(n, 4, 2)) for n in (32, 16))
        assert_same_bits(narrow.hidden, wide.hidden)
        assert_same_bits(narrow.squares, wide.squares)


@interpreted
def test_inputs_that_do_not_fit_a_weight_are_refused():
    weight = pack(torch.randn(16, 64))
    for x in (torch.randn(2, 63), torch.randn(64, 2).T, torch.randn(2, 64).bfloat16()):
        with pytest.raises(ValueError, match="an input"):
            launch.multiply(x, weight)


# Rotation, cache, attention


def rope(head_dim: int, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angles = positions[:, None].float() * 100.0 ** (-torch.arange(head_dim // 2) / (head_dim / 2))
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rotated(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """x [tokens, heads, head_dim] float64"""
    cos, sin = (t.double().unsqueeze(1) for t in rope(x.shape[-1], positions))
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat((-high, low), -1) * sin


@pytest.mark.parametrize("head_dim", [16, 24])
@pytest.mark.parametrize("with_norm", [False, True])
@interpreted
def test_rotation_and_append_are_the_formulas(with_norm, head_dim):
    torch.manual_seed(4)
    segments = [Segment([5, 2], 3, 4), Segment([0], 2, 1)]
    batch = TritonBatch.build(segments, PAGE, functools.partial(rope, head_dim), repeats=2)
    pools = Pools(*torch.zeros(2, 6, PAGE, 2, head_dim))
    gains = (torch.rand(2, head_dim) + 0.5).unbind() if with_norm else (None, None)
    qkv = torch.randn(5, 8 * head_dim)
    query = launch.rotate_and_append(qkv, batch, pools, *gains, EPS)
    q, k, v = qkv.double().unflatten(-1, (8, head_dim)).split([4, 2, 2], dim=1)
    if with_norm:
        q, k = norm(q, gains[0]), norm(k, gains[1])
    assert_close(query, rotated(q, batch.positions), 2e-6)
    assert_close(pools.keys.flatten(0, 1)[batch.slots], rotated(k, batch.positions), 2e-6)
    assert torch.equal(pools.values.flatten(0, 1)[batch.slots], v.float())
    assert len(pools.values.flatten(0, 1).sum((1, 2)).nonzero()) == 5, "something else was written"


def naive_attention(query, keys, values, segments, window):
    """One query at a time, float64; the whole context read from the pools through the block tables."""
    out, row = [], 0
    for segment in segments:
        for position in range(segment.start, segment.start + segment.count):
            first = 0 if window is None else max(0, position - window + 1)
            where = [segment.pages[p // PAGE] * PAGE + p % PAGE for p in range(first, position + 1)]
            k, v = (pool.flatten(0, 1)[where].double() for pool in (keys, values))
            repeats = query.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
            scores = torch.einsum("hd,shd->hs", query[row].double(), k) / math.sqrt(query.shape[2])
            out.append(torch.einsum("hs,shd->hd", scores.softmax(-1), v).flatten())
            row += 1
    return torch.stack(out)


def ragged_batch(repeats: int, head_dim: int = 16) -> tuple[list[Segment], TritonBatch]:
    """Contexts from one position to three splits, prompts and decoding sessions among each other."""
    pages = torch.randperm(320).tolist()
    segments = [
        Segment(pages[:140], 540, 1),
        Segment(pages[140:145], 0, 19),
        Segment(pages[145:146], 0, 1),
        Segment(pages[146:220], 250, 34),
        Segment(pages[220:285], 255, 1),
    ]
    return segments, TritonBatch.build(segments, PAGE, functools.partial(rope, head_dim), repeats)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "window"),
    [(2, 2, None), (2, 2, 70), (8, 2, None), (8, 2, 300), (3, 1, 1), (3, 1, 70)],
)
@pytest.mark.parametrize("dtype", DTYPES)
@interpreted
def test_attention_of_a_ragged_batch_is_the_formula(dtype, heads, kv_heads, window):
    torch.manual_seed(5)
    segments, batch = ragged_batch(heads // kv_heads)
    keys, values = torch.randn(2, 320, PAGE, kv_heads, 16).to(dtype)
    query = torch.randn(batch.num_tokens, heads, 16).to(dtype)
    out = launch.attend(query, batch, Pools(keys, values), window)
    assert_close(out, naive_attention(query, keys, values, segments, window), TOLERANCE[dtype])


@interpreted
def test_what_other_sessions_left_in_a_page_is_not_seen():
    keys, values = torch.full((2, 3, PAGE, 1, 16), torch.nan)
    keys[0, :2] = values[0, :2] = keys[1, :3] = values[1, :3] = 1.0
    segments = [Segment([0], 1, 1), Segment([1], 0, 3)]
    batch = TritonBatch.build(segments, PAGE, functools.partial(rope, 16), repeats=1)
    assert (launch.attend(torch.randn(4, 1, 16), batch, Pools(keys, values), None) == 1).all()


@interpreted
def test_a_cache_of_int8_is_read_as_it_was_written():
    torch.manual_seed(6)
    segments = [Segment(list(range(20)), 0, 70), Segment([25], 0, 1)]
    batch = TritonBatch.build(segments, PAGE, functools.partial(rope, 16), repeats=2)
    pools = Pools.empty(30, PAGE, 2, 16, torch.int8, torch.device("cpu"))
    plain = Pools.empty(30, PAGE, 2, 16, torch.float32, torch.device("cpu"))
    qkv = torch.randn(71, 8 * 16)
    qkv[3] = 0
    query = launch.rotate_and_append(qkv, batch, pools, None, None, EPS)
    launch.rotate_and_append(qkv, batch, plain, None, None, EPS)
    keys, values = (
        codes * scales.unsqueeze(-1)
        for codes, scales in ((pools.keys, pools.key_scales), (pools.values, pools.value_scales))
    )
    used = plain.keys.flatten(0, 1)[batch.slots]
    step = used.abs().amax(-1, keepdim=True) / 127
    assert ((keys.flatten(0, 1)[batch.slots] - used).abs() <= step * 0.501).all()
    out = launch.attend(query, batch, pools, None)
    assert_close(out, naive_attention(query, keys, values, segments, None), 2e-6)


# Whole ranges


def random_blocks(format: str, dtype: torch.dtype, specs: list[BlockSpec], hidden: int, inner: int, extras: bool):
    """Tensors of blocks as TritonWeights.pack takes them; extras: biases and QK-norm."""
    blocks = []
    for spec in specs:
        width = spec.num_heads * spec.head_dim
        shapes = {"qkv": (width + 2 * spec.num_kv_heads * spec.head_dim, hidden), "o": (hidden, width)}
        shapes |= {"gate_up": (2 * inner, hidden), "down": (hidden, inner)}
        block = {name: weight_in(format, *shape, dtype) for name, shape in shapes.items()}
        block |= {name: (torch.rand(hidden) + 0.5).to(dtype) for name in ("attn_norm", "mlp_norm")}
        if extras:
            block |= {f"{name}_bias": torch.randn(shape[0]).to(dtype) / 4 for name, shape in shapes.items()}
            block |= {name: (torch.rand(spec.head_dim) + 0.5).to(dtype) for name in ("q_norm", "k_norm")}
        blocks.append(block)
    return blocks


def block_formula(hidden, block, spec, dtype):
    """A whole sequence from position 0, hidden [tokens, hidden] float64."""

    def product(x, name):
        return x @ double(block[name], dtype).T + double(block.get(f"{name}_bias"), dtype)

    positions = torch.arange(len(hidden))
    heads = product(norm(hidden, block["attn_norm"]), "qkv").unflatten(-1, (-1, spec.head_dim))
    q, k, v = heads.split([spec.num_heads, spec.num_kv_heads, spec.num_kv_heads], dim=1)
    if "q_norm" in block:
        q, k = norm(q, block["q_norm"]), norm(k, block["k_norm"])
    q, k = rotated(q, positions), rotated(k, positions)
    k, v = (t.repeat_interleave(spec.num_heads // spec.num_kv_heads, 1) for t in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(spec.head_dim)
    distance = positions[:, None] - positions
    seen = (distance >= 0) & (distance < (spec.window or len(hidden)))
    weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
    hidden = hidden + product(torch.einsum("hqk,khd->qhd", weights, v).flatten(1), "o")
    gate, up = product(norm(hidden, block["mlp_norm"]), "gate_up").chunk(2, -1)
    return hidden + product(ACTIVATIONS[spec.activation](gate) * up, "down")


class Model:
    """Two blocks, the second with a window, and caches whose unwritten slots are NaN."""

    def __init__(self, format="dense", dtype=torch.bfloat16, extras=False, pool_dtype=None):
        torch.manual_seed(7)
        self.dtype = dtype
        self.specs = [BlockSpec(2, 1, 32, EPS, window=window) for window in (None, 6)]
        self.blocks = random_blocks(format, dtype, self.specs, 64, 64, extras)
        weights = [TritonWeights.pack(block) for block in self.blocks]
        self.range = TritonRange(self.specs, weights, functools.partial(rope, 32), PAGE, 96, first=3)
        self.caches = [Pools.empty(64, PAGE, 1, 32, pool_dtype or dtype, torch.device("cpu")) for _ in self.specs]
        if pool_dtype is None:
            for pools in self.caches:
                pools.keys.fill_(torch.nan)
                pools.values.fill_(torch.nan)

    def hidden(self, tokens: int) -> torch.Tensor:
        return torch.randn(tokens, 64, generator=torch.Generator().manual_seed(8)).to(self.dtype)

    def step(self, *work: tuple[list[int], int, torch.Tensor]) -> list[torch.Tensor]:
        """work: pages, start, hidden of each segment."""
        batch = self.range.layout([Segment(pages, start, len(hidden)) for pages, start, hidden in work])
        out = self.range.forward(torch.cat([hidden for _, _, hidden in work]), batch, self.caches)
        return list(out.split([len(hidden) for _, _, hidden in work]))


def torch_reference(hidden, blocks, specs, dtype):
    """A whole sequence from position 0 by the torch kernels."""
    batch = PagedBatch.build([Segment([0], 0, len(hidden))], len(hidden))
    table = rotary_table(*rope(specs[0].head_dim, batch.positions), dtype)
    for block, spec in zip(blocks, specs, strict=True):

        def linear(name, block=block):
            weight = block[name]
            return Linear(weight.dequantize(dtype) if isinstance(weight, QuantWeight) else weight)

        weights = BlockWeights(
            block["attn_norm"], linear("qkv"), linear("o"), block["mlp_norm"], linear("gate_up"), linear("down")
        )
        pools = torch.zeros(2, 1, len(hidden), spec.num_kv_heads, spec.head_dim, dtype=dtype)
        hidden = decoder_block(hidden, weights, spec, table, batch, pools.unbind())
    return hidden


@pytest.mark.parametrize(
    ("format", "dtype", "extras"),
    [
        ("dense", torch.float32, True),
        ("nf4", torch.float32, True),
        ("int4", torch.bfloat16, False),
        *(pytest.param(f, torch.float32, True, marks=pytest.mark.slow) for f in ("int8", "int4", "int4-g64")),
        *(pytest.param(f, torch.bfloat16, False, marks=pytest.mark.slow) for f in ("dense", "int8", "int4-g64", "nf4")),
    ],
)
@interpreted
def test_a_range_is_the_formula_in_prefill_and_decode(format, dtype, extras):
    model = Model(format, dtype, extras)
    hidden = model.hidden(9)
    pages = [9, 0, 30]
    chunks = zip((0, 6, 7, 8), hidden.split([6, 1, 1, 1]), strict=True)
    actual = torch.cat([model.step((pages, start, chunk))[0] for start, chunk in chunks])
    expected = hidden.double()
    for block, spec in zip(model.blocks, model.specs, strict=True):
        expected = block_formula(expected, block, spec, dtype)
    if dtype == torch.float32:
        assert_close(actual, expected, 1e-5)
    else:
        # Each of twelve roundings to bfloat16 adds its part: no more than in the torch kernels, within a half.
        reference = torch_reference(hidden, model.blocks, model.specs, dtype)
        error, allowed = ((out.double() - expected).norm() / expected.norm() for out in (actual, reference))
        assert error < 1.5 * allowed and error < 1e-2, f"off by {error:.1e}, the torch kernels by {allowed:.1e}"


@pytest.mark.parametrize(
    ("format", "pool_dtype"),
    [("int4", torch.int8), *(pytest.param(format, None, marks=pytest.mark.slow) for format in DENSE_AND_QUANT)],
)
@interpreted
def test_a_tokens_bits_do_not_depend_on_its_batch_place_pages_or_chunks(format, pool_dtype):
    model = Model(format, pool_dtype=pool_dtype)
    hidden, other = model.hidden(10), model.hidden(6) / 3
    (prompt,) = model.step(([0, 1, 2], 0, hidden[:9]))
    (token,) = model.step(([0, 1, 2], 9, hidden[9:]))

    chunked = [model.step(([7, 50, 3], start, hidden[start:stop]))[0] for start, stop in ((0, 4), (4, 5), (5, 9))]
    assert_same_bits(torch.cat(chunked), prompt)

    (whole,) = model.step(([4, 6, 5], 0, hidden))
    assert_same_bits(whole, torch.cat((prompt, token)))

    crowd = [([10 + index], 0, other[index : index + 1]) for index in range(4)]
    for place in (0, 3):
        work = [*crowd[:place], ([7, 50, 3], 9, hidden[9:]), *crowd[place:]]
        assert_same_bits(model.step(*work)[place], token)

    among_prompts = model.step((list(range(20, 40)), 0, other), ([41, 8, 43], 0, hidden), ([44], 0, other[:1]))
    assert_same_bits(among_prompts[1], whole)


@interpreted
def test_the_padding_of_a_decode_step_is_not_appended():
    model = Model()
    hidden = model.hidden(3)
    model.step(*(([5 + index], 0, hidden[index : index + 1]) for index in range(3)))
    for pools in model.caches:
        for pool in (pools.keys, pools.values):
            written = ~pool.flatten(0, 1).isnan().all(-1).all(-1)
            assert written.nonzero().flatten().tolist() == [20, 24, 28]


@interpreted
def test_parts_of_a_range_make_the_whole():
    model = Model(dtype=torch.float32)
    hidden = model.hidden(3)
    batch = model.range.layout([Segment([2], 0, 3)])
    whole = model.range.forward(hidden, batch, model.caches)
    first = model.range.forward(hidden, batch, model.caches, stop=4)
    assert_same_bits(model.range.forward(first, batch, model.caches, start=4), whole)
    assert_same_bits(model.range.forward(hidden, batch, model.caches, 4, 4), hidden)
    with pytest.raises(ValueError, match="outside the range 3:5"):
        model.range.forward(hidden, batch, model.caches, start=2)


@interpreted
def test_the_backend_computes_the_same_range():
    model = Model("int4")
    backend = TritonBackend(model.dtype, torch.device("cpu"))
    weights = [backend.block(dict(block)) for block in model.blocks]
    blocks = backend.blocks(model.specs, weights, functools.partial(rope, 32), 96)
    hidden = model.hidden(5)
    [expected] = model.step(([3, 5], 0, hidden))
    cache = [(torch.zeros_like(pools.keys), torch.zeros_like(pools.values)) for pools in model.caches]
    assert torch.equal(blocks.forward(hidden, blocks.layout([Segment([3, 5], 0, 5)], PAGE), cache, 0, 2), expected)


@interpreted
def test_a_context_longer_than_the_range_was_made_for_is_refused():
    model = Model()
    with pytest.raises(ValueError, match="at most"):
        model.step((list(range(60)) * 2, 200, model.hidden(1)))


# Tiles


def test_measured_tiles_are_kept_and_broken_files_are_not_believed(tmp_path):
    path = tmp_path / "cache" / "tiles.json"
    default = TileCache(path).tile("k", 1)
    fastest = next(tile for tile in CANDIDATES if tile != default)
    assert TileCache(path).tune("k", 1, lambda tile: float(tile != fastest)) == fastest
    assert TileCache(path).tile("k", 16) == fastest
    assert TileCache(path).tile("k", 17) == TileCache(path).tile("other", 17)
    for text in ("{", "[]", '{"k m16": 3}', '{"k m16": {"block_n": 64, "num_warps": 4, "num_stages": 2}}'):
        path.write_text(text)
        assert TileCache(path).tile("k", 1) == default
