"""The C++ kernels of whole blocks against the same in float64, and that bits depend on a session alone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from swarm_kernels import FORMATS, BlockSpec, BlockWeights, QuantWeight, Segment, choose_backend, cpu, quantize
from swarm_kernels.blocks import TorchBlocks
from swarm_kernels.cpu import build, library
from swarm_kernels.quant import NF4_LEVELS

HIDDEN, INNER, PAGE = 128, 192, 16

SPEC = BlockSpec(num_heads=6, num_kv_heads=2, head_dim=32, norm_eps=1e-5)

LEVELS = ["avx512bf16", "avx512", "avx2"]

FORMAT_NAMES = ["bfloat16", *FORMATS]


pytestmark = pytest.mark.skipif(not cpu.is_available(), reason="no AVX2, or no compiler")


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One build of the kernels after the other, as far as this processor runs them."""
    monkeypatch.setenv("SWARM_CPU_KERNELS", request.param)
    try:
        assert build.choose_level() == request.param
    except build.Unavailable as reason:
        pytest.skip(str(reason))
    library.library.cache_clear()
    yield request.param
    library.library.cache_clear()


class Exactly:
    """What a packed product means, in float64: operands rounded as its format rounds them, and nothing else."""

    def __init__(self, weight: Tensor | QuantWeight, bias: Tensor | None = None):
        self.bias = bias
        self.format = weight.format if isinstance(weight, QuantWeight) else None
        if self.format is None:
            self.weight = weight.to(torch.bfloat16).double()
        elif self.format.kind == "codebook":  # the kernels' table is rounded to 8 bits
            table = (torch.tensor(NF4_LEVELS) * 127).round().double() / 127
            groups = table[weight.codes.long()].unflatten(-1, (-1, self.format.group))
            self.weight = (groups * weight.scale.double().unsqueeze(-1)).flatten(-2)
        else:
            self.weight = weight.dequantize().double()

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = self.rounded(x) @ self.weight.T
        product = product if self.bias is None else product + self.bias
        return product if residual is None else product + residual

    def rounded(self, x: Tensor) -> Tensor:
        if self.format is None:
            return x.to(torch.bfloat16).double()
        groups = x.float().unflatten(-1, (-1, self.format.group))
        scale = groups.abs().amax(-1, keepdim=True) / 127
        return ((groups / scale.clamp_min(1e-30)).round() * scale).double().flatten(-2)


def make_weights(spec: BlockSpec, format: str, bias: bool, seed: int = 0) -> dict[str, Tensor | QuantWeight]:
    generator = torch.Generator().manual_seed(seed)
    query, key = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    shapes = {"qkv": (query + 2 * key, HIDDEN), "o": (HIDDEN, query), "gate_up": (2 * INNER, HIDDEN)}
    tensors = {}
    for name, shape in {**shapes, "down": (HIDDEN, INNER)}.items():
        weight = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        tensors[name] = quantize(weight, FORMATS[format]) if format in FORMATS else weight
        tensors[f"{name}_bias"] = torch.randn(shape[0], generator=generator) * 0.1 if bias else None
    for name in ("attn_norm", "mlp_norm"):
        tensors[name] = 1 + 0.1 * torch.randn(HIDDEN, generator=generator)
    for name in ("q_norm", "k_norm"):
        tensors[name] = 1 + 0.1 * torch.randn(spec.head_dim, generator=generator)
    return tensors


def block_weights(tensors: dict[str, Tensor | QuantWeight], product: type, dtype: torch.dtype, qk_norm: bool):
    products = {name: product(tensors[name], tensors[f"{name}_bias"]) for name in ("qkv", "o", "gate_up", "down")}
    norms = {name: tensors[name].to(dtype) for name in ("attn_norm", "mlp_norm")}
    if qk_norm:
        norms |= {name: tensors[name].to(dtype) for name in ("q_norm", "k_norm")}
    return BlockWeights(**products, **norms)


def rope(spec: BlockSpec):
    def angles(positions: Tensor) -> tuple[Tensor, Tensor]:
        inverse = 10_000.0 ** (-torch.arange(0, spec.head_dim, 2) / spec.head_dim)
        turns = torch.cat([positions[:, None].float() * inverse] * 2, dim=-1)
        return turns.cos(), turns.sin()

    return angles


def pools(spec: BlockSpec, dtype: torch.dtype, blocks: int, pages: int = 40) -> list[tuple[Tensor, Tensor]]:
    shape = (pages, PAGE, spec.num_kv_heads, spec.head_dim)
    return [tuple(torch.full(shape, torch.nan, dtype=dtype) for _ in "kv") for _ in range(blocks)]


class Both:
    """Two blocks on the kernels, and the same in float64 over a cache rounded alike."""

    def __init__(self, spec: BlockSpec, format: str, dtype=torch.float32, bias=False, qk_norm=False, threads=1):
        specs = [spec, replace(spec, window=None)]
        tensors = [make_weights(spec, format, bias, seed) for seed in range(2)]
        packed = [block_weights(block, cpu.PackedMatrix, torch.float32, qk_norm) for block in tensors]
        exact = [block_weights(block, Exactly, torch.float64, qk_norm) for block in tensors]
        self.spec, self.dtype = spec, dtype
        self.kernels = cpu.CpuBlocks(specs, packed, rope(spec), dtype, threads)
        self.exact = TorchBlocks(specs, exact, rope(spec), torch.float64, torch.device("cpu"))
        self.cache, self.exact_cache = pools(spec, dtype, 2), pools(spec, torch.float64, 2)

    def step(self, segments: list[Segment], hidden: Tensor) -> Tensor:
        """[tokens, HIDDEN] by the kernels"""
        return self.kernels.forward(hidden, self.kernels.layout(segments, PAGE), self.cache, 0, 2)

    def exact_step(self, segments: list[Segment], hidden: Tensor) -> Tensor:
        return self.exact.forward(hidden.double(), self.exact.layout(segments, PAGE), self.exact_cache, 0, 2)


def hidden_rows(count: int, seed: int = 7) -> Tensor:
    return torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed))


def relative_error(actual: Tensor, expected: Tensor, start: Tensor) -> float:
    """Of what the blocks add to their input."""
    return float((actual.double() - expected).norm() / (expected - start.double()).norm())


RAGGED = [Segment([5, 9, 2], 0, 37), Segment([30], 0, 1), Segment([11, 3], 0, 17)]

NEXT = [Segment([5, 9, 2], 37, 1), Segment([30], 1, 5), Segment([11, 3], 17, 1)]


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_blocks_agree_with_float64(level: str, format: str):
    both = Both(SPEC, format)
    for segments in (RAGGED, NEXT):
        hidden = hidden_rows(sum(segment.count for segment in segments))
        error = relative_error(both.step(segments, hidden), both.exact_step(segments, hidden), hidden)
        # A value at the edge between two codes may fall to the other side, which changes it by 1 %; nothing else may.
        assert error < 1e-2, f"{level}: {error}"


@pytest.mark.parametrize(
    "spec",
    [
        BlockSpec(num_heads=8, num_kv_heads=8, head_dim=16, norm_eps=1e-6),
        BlockSpec(num_heads=4, num_kv_heads=1, head_dim=48, norm_eps=1e-6),
        BlockSpec(num_heads=7, num_kv_heads=1, head_dim=64, norm_eps=1e-6),
        BlockSpec(num_heads=2, num_kv_heads=1, head_dim=128, norm_eps=1e-6),
        BlockSpec(num_heads=5, num_kv_heads=5, head_dim=64, norm_eps=1e-6, activation="gelu_pytorch_tanh"),
        BlockSpec(num_heads=4, num_kv_heads=2, head_dim=32, norm_eps=1e-6, activation="relu", window=19),
    ],
    ids=lambda spec: f"{spec.num_heads}-{spec.num_kv_heads}-{spec.head_dim}-{spec.activation}-{spec.window}",
)
@pytest.mark.parametrize("extras", [False, True], ids=["plain", "bias-qknorm"])
def test_every_shape_of_block_agrees_with_float64(spec: BlockSpec, extras: bool):
    both = Both(spec, "int8", bias=extras, qk_norm=extras)
    for segments in (RAGGED, NEXT):
        hidden = hidden_rows(sum(segment.count for segment in segments))
        assert relative_error(both.step(segments, hidden), both.exact_step(segments, hidden), hidden) < 1e-2


def test_a_bfloat16_cache_and_wire_cost_no_more_than_their_rounding():
    both = Both(SPEC, "int8", dtype=torch.bfloat16)
    hidden = hidden_rows(55).to(torch.bfloat16)
    output = both.step(RAGGED, hidden)
    assert output.dtype == torch.bfloat16
    assert relative_error(output, both.exact_step(RAGGED, hidden), hidden) < 2e-2


def one_at_a_time(both: Both, pages: list[int], hidden: Tensor) -> Tensor:
    return torch.cat([both.step([Segment(pages, at, 1)], hidden[at : at + 1]) for at in range(len(hidden))])


@pytest.mark.parametrize("format", FORMAT_NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_tokens_bits_depend_on_its_session_alone(level: str, format: str, dtype: torch.dtype):
    """Batch sizes 1 to 17, positions in the batch, thread counts, chunk sizes, page layouts."""
    spec = replace(SPEC, window=23)
    hidden = hidden_rows(50).to(dtype)
    expected = one_at_a_time(Both(spec, format, dtype), [0, 1, 2, 3], hidden)
    for threads in (1, 2, 3):
        for chunk in (7, 16, 50):
            both = Both(spec, format, dtype, threads=threads)
            pages = [39 - 3 * threads - chunk % 5, 7, 1, 20]
            parts = [
                both.step([Segment(pages, at, min(chunk, 50 - at))], hidden[at : at + chunk])
                for at in range(0, 50, chunk)
            ]
            assert torch.equal(torch.cat(parts), expected), (threads, chunk)
        for company in (1, 3, 4, 8, 16):
            both = Both(spec, format, dtype, threads=threads)
            both.step([Segment([0, 1, 2, 3], 0, 49)], hidden[:49])
            others = [Segment([4 + index], 0, 1) for index in range(company)]
            rows = hidden_rows(company, seed=company).to(dtype)
            place = company // 2
            segments = [*others[:place], Segment([0, 1, 2, 3], 49, 1), *others[place:]]
            output = both.step(segments, torch.cat([rows[:place], hidden[49:], rows[place:]]))
            assert torch.equal(output[place], expected[49]), (threads, company)


def test_a_rewound_position_is_computed_anew():
    both = Both(SPEC, "int4")
    hidden = hidden_rows(20)
    first = both.step([Segment([3, 4], 0, 20)], hidden)
    both.step([Segment([3, 4], 10, 10)], hidden_rows(10, seed=1))
    assert torch.equal(both.step([Segment([3, 4], 10, 10)], hidden[10:]), first[10:])


@pytest.mark.parametrize("format", FORMAT_NAMES)
@pytest.mark.parametrize("rows", [1, 5, 19])
def test_a_single_product_agrees_with_float64(level: str, format: str, rows: int):
    weight = torch.randn(117, HIDDEN)  # no multiple of 16: padded inside
    weight = quantize(weight, FORMATS[format]) if format in FORMATS else weight
    norm, x = torch.rand(HIDDEN) + 0.5, hidden_rows(rows)
    packed, exact = cpu.PackedMatrix(weight), Exactly(weight)
    assert torch.allclose(packed(x, threads=2).double(), exact(x), rtol=0, atol=2e-3 * float(exact(x).abs().max()))
    normed = torch.nn.functional.rms_norm(x, norm.shape, norm, 1e-5)
    expected = exact(normed)
    assert torch.allclose(packed(x, 1, norm, 1e-5).double(), expected, rtol=0, atol=8e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_a_row_has_the_same_bits_in_every_batch(level: str, format: str):
    """What lets peers check each other's work; torch's products do not promise it."""
    weight = torch.randn(240, 576) / 20
    weight = quantize(weight, FORMATS[format]) if format in FORMATS else weight
    packed, x = cpu.PackedMatrix(weight), torch.randn(64, 576)
    together = packed(x, threads=1)
    for rows in (1, 2, 3, 4, 5, 8, 16, 33):
        for threads in (1, 3):
            assert torch.equal(packed(x[:rows], threads), together[:rows]), (rows, threads)
            assert torch.equal(packed(x[-rows:], threads), together[-rows:]), (rows, threads)


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_kernels_that_promise_bits_say_by_which_code(level: str, format: str):
    quant = "none" if format == "bfloat16" else format
    backend = choose_backend(quant, torch.bfloat16, torch.device("cpu"), SPEC, HIDDEN, INNER, threads=1)
    torch_version = torch.__version__.split("+")[0]
    assert backend.numerics_id == f"cpu-{level}-{build.source_hash(level)}-torch{torch_version}-{format}-bfloat16"


def test_not_a_number_is_not_hidden():
    both = Both(SPEC, "int8", dtype=torch.bfloat16)
    hidden = hidden_rows(2).to(torch.bfloat16)
    hidden[0, 5] = torch.nan
    output = both.step([Segment([1], 0, 1), Segment([2], 0, 1)], hidden)
    assert output[0].isnan().any()
    assert not output[1].isnan().any()


def test_tuning_tries_threads_and_keeps_one_of_them():
    both = Both(SPEC, "int8")
    both.kernels.threads = 0
    both.kernels.tune(both.cache, most=3)
    assert both.kernels.threads in (1, 2)


def test_wrong_caches_and_blocks_are_refused():
    both = Both(SPEC, "int8")
    batch = both.kernels.layout([Segment([0], 0, 1)], PAGE)
    with pytest.raises(ValueError, match="needed is"):
        both.kernels.forward(hidden_rows(1), batch, pools(SPEC, torch.bfloat16, 2), 0, 2)
    small = [tuple(torch.zeros(4, 8, 2, 32) for _ in "kv") for _ in range(2)]
    with pytest.raises(ValueError, match="multiple of 16"):
        both.kernels.forward(hidden_rows(1), batch, small, 0, 2)
    with pytest.raises(ValueError, match="multiple of 64"):
        cpu.PackedMatrix(torch.zeros(16, 100))
    assert not cpu.supports(replace(SPEC, head_dim=24), HIDDEN, INNER)
    assert not cpu.supports(SPEC, HIDDEN, 100)
    assert not cpu.supports(replace(SPEC, activation="gelu"), HIDDEN, INNER)
