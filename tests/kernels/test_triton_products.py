"""Triton's products and packed weights against their formulas in float64."""

import pytest
import torch

from swarm_kernels import (
    ACTIVATIONS,
)
from swarm_kernels.formats import FORMATS
from swarm_kernels.triton import launch, pack, unpack
from swarm_kernels.triton.tiles import Tile
from swarm_kernels.triton.weights import split_rows
from triton_formulas import (
    DTYPES,
    EPS,
    INTERPRETED,
    TOLERANCE,
    assert_close,
    assert_same_bits,
    double,
    interpreted,
    norm,
    weight_in,
)

if INTERPRETED:
    torch.set_num_threads(1)

DENSE_AND_QUANT = ["dense", *FORMATS]


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
