"""Weight formats: what they hold, how much they lose, and that NF4 is bitsandbytes' own."""

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swarm_kernels import FORMATS, QuantWeight, quantize
from swarm_kernels.bnb import BnbLinear
from swarm_kernels.linear import DequantLinear


def normal(rows: int = 48, columns: int = 256) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("format", "most"), [("int8", 0.006), ("int4", 0.08), ("int4-g64", 0.09), ("nf4", 0.095)])
def test_a_normal_matrix_loses_this_much(format: str, most: float):
    weight = normal()
    restored = quantize(weight, FORMATS[format]).dequantize()
    assert (restored - weight).norm() / weight.norm() < most


def test_searching_for_the_range_beats_taking_it_from_the_extremes():
    weight, format = normal(), FORMATS["int4-g64"]
    groups = weight.unflatten(-1, (-1, 64))
    low, step = groups.amin(-1, True), (groups.amax(-1, True) - groups.amin(-1, True)) / 15
    plain = (((groups - low) / step).round() * step + low).flatten(-2)
    searched = quantize(weight, format).dequantize()
    assert (searched - weight).norm() < 0.97 * (plain - weight).norm()


@given(
    format=st.sampled_from(sorted(FORMATS)),
    scale=st.sampled_from([0.0, 1e-30, 1e-6, 1.0, 1e4, 1e30]),
    seed=st.integers(0, 1000),
)
def test_codes_stay_in_range_and_values_finite(format: str, scale: float, seed: int):
    weight = torch.randn(3, 128, generator=torch.Generator().manual_seed(seed)) * scale
    packed = quantize(weight, FORMATS[format])
    low, high = (-127, 127) if format == "int8" else (0, 15)
    assert low <= int(packed.codes.min()) and int(packed.codes.max()) <= high
    assert packed.dequantize().isfinite().all()


def test_what_is_quantised_twice_stays_as_it_is():
    for name in ("int8", "nf4"):
        once = quantize(normal(), FORMATS[name])
        assert torch.equal(quantize(once.dequantize(), once.format).codes, once.codes)


def test_rows_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(ValueError, match="groups of 32"):
        quantize(torch.zeros(4, 40), FORMATS["int4"])


def test_nf4_has_the_codes_and_scales_of_bitsandbytes():
    weight = normal()
    ours = quantize(weight, FORMATS["nf4"])
    codes, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    theirs = torch.stack((codes.flatten() >> 4, codes.flatten() & 15), dim=-1)  # high nibble first
    assert torch.equal(ours.codes.flatten(), theirs.flatten())
    assert torch.equal(ours.scale.flatten(), state.absmax)
    assert torch.equal(ours.dequantize(), bnb.dequantize_4bit(codes, state))


@pytest.mark.parametrize(("format", "most"), [("bnb-nf4", 0.1), ("bnb-int8", 0.02)])
def test_bitsandbytes_layers_serve_as_products(format: str, most: float):
    weight, bias, x, residual = normal(), torch.randn(48), torch.randn(5, 256), torch.randn(5, 48)
    expected = x @ weight.T + bias + residual
    assert (BnbLinear(format, weight, bias)(x, residual) - expected).norm() / expected.norm() < most


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_without_kernels_a_product_restores_its_weight(format: str):
    weight = quantize(normal(), FORMATS[format])
    bias, x = torch.randn(48), torch.randn(5, 256)
    expected = x.double() @ weight.dequantize(torch.float64).T + bias
    assert torch.allclose(DequantLinear(weight, bias)(x).double(), expected, atol=1e-4)


def test_matrices_are_joined_row_by_row():
    for name in FORMATS:
        weight = quantize(normal(), FORMATS[name])
        parts = [quantize(normal()[rows], FORMATS[name]) for rows in (slice(0, 16), slice(16, 48))]
        joined = QuantWeight.cat(parts)
        assert joined.shape == (48, 256)
        assert torch.equal(joined.dequantize(), weight.dequantize())
