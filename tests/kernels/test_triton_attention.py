"""Triton's rotation, cache and attention against their formulas in float64."""

import functools

import pytest
import torch

from attention import naive_attention
from swarm_kernels import (
    Segment,
)
from swarm_kernels.triton import Pools, launch
from swarm_kernels.triton.layout import TritonBatch
from triton_formulas import DTYPES, EPS, TOLERANCE, assert_close, interpreted, norm, rope, rotated

PAGE = 4


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
