"""Whole ranges of blocks in Triton against the formula in float64, in Triton's interpreter where there is no GPU."""

import functools
import math

import pytest
import torch

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
from swarm_kernels.formats import FORMATS
from swarm_kernels.quant import QuantWeight
from swarm_kernels.triton import Pools, TritonRange, TritonWeights
from swarm_kernels.triton.backend import TritonBackend
from swarm_kernels.triton.tiles import CANDIDATES, TileCache
from triton_formulas import EPS, assert_close, assert_same_bits, double, interpreted, norm, rope, rotated, weight_in

PAGE = 4

DENSE_AND_QUANT = ["dense", *FORMATS]


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
    blocks = backend.blocks(model.specs, map(dict, model.blocks), functools.partial(rope, 32), 96)
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
