"""What the tests of Triton's kernels share: Triton's interpreter, weights, and how close is close."""

import atexit
import functools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

import pytest
import torch

from swarm_kernels.formats import FORMATS
from swarm_kernels.quant import QuantWeight, quantize

triton = pytest.importorskip("triton", reason="triton is not installed (extra `cuda`)")


INTERPRETED = bool(triton.knobs.runtime.interpret)

EPS = 1e-5

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}  # of the largest magnitude

DTYPES = list(TOLERANCE)


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


def _call(module: str, name: str, arguments: dict) -> None:
    getattr(import_module(module), name)(**arguments)


def interpreted(test):
    """Runs a test in the child; there, where its module is imported again, it is the test itself."""
    if INTERPRETED:
        return test

    def submitted(**arguments: object) -> None:
        _child().submit(_call, test.__module__, test.__name__, arguments).result()

    return functools.wraps(test)(submitted)


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
