"""The reference kernels agree with the formulas in float64, and the batch describes what they read and write."""

import pytest
import torch

from attention import naive_attention
from swarm_kernels import (
    QUANTS,
    BlockSpec,
    Linear,
    PagedBatch,
    Segment,
    TorchBackend,
    append_kv,
    choose_backend,
    gated_mlp,
    paged_attention,
    rms_norm,
    rotary,
    rotary_table,
)

PAGE = 4


def test_new_tokens_go_to_the_slots_of_their_pages():
    batch = PagedBatch.build([Segment([5, 2, 7], start=3, count=4), Segment([0], start=2, count=1)], PAGE)
    assert batch.positions.tolist() == [3, 4, 5, 6, 2]
    assert batch.slots.tolist() == [5 * 4 + 3, 2 * 4, 2 * 4 + 1, 2 * 4 + 2, 2]
    assert batch.num_tokens == 5


def test_one_token_segments_become_one_group_wherever_they_stand():
    segments = [Segment([0], 1, 1), Segment([1], 0, 3), Segment(torch.tensor([2]), 2, 1), Segment([3], 0, 1)]
    batch = PagedBatch.build(segments, PAGE)
    prefill, decode = batch.groups
    assert (prefill.rows, prefill.count) == (slice(1, 4), 3)
    assert (decode.rows.tolist(), decode.count) == ([0, 4, 5], 1)


def test_padding_repeats_the_sessions_own_slots():
    batch = PagedBatch.build([Segment([0, 9], 5, 1), Segment([3], 1, 1)], PAGE)
    context = batch.groups[0].context(None)
    assert context.slots.tolist() == [[0, 1, 2, 3, 36] + [37] * 11, [12] + [13] * 15]
    assert context.mask.squeeze().sum(1).tolist() == [6, 2]


def test_full_contexts_need_no_mask_and_a_window_gathers_only_itself():
    group = PagedBatch.build([Segment(range(8), 31, 1), Segment(range(8, 16), 31, 1)], PAGE).groups[0]
    assert group.context(None).mask is None
    assert group.context(16).slots.tolist() == [list(range(16, 32)), list(range(48, 64))]
    assert group.context(16).mask is None
    assert group.context(2).mask.squeeze().tolist() == [[True] * 2 + [False] * 14] * 2
    assert group.context(2) is group.context(2)


def test_bad_segments_are_refused():
    for segment in (Segment([0], -1, 1), Segment([0], 0, 0), Segment([0], 3, 2)):
        with pytest.raises(ValueError):
            PagedBatch.build([segment], PAGE)
    with pytest.raises(ValueError, match="at least one segment"):
        PagedBatch.build([], PAGE)


@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_attention_of_a_ragged_batch_is_the_formulas(window, dtype, tolerance):
    torch.manual_seed(0)
    pages = torch.randperm(40).tolist()
    segments = [
        Segment(pages[0:5], 17, 1),
        Segment(pages[5:8], 0, 9),
        Segment(pages[8:9], 0, 1),
        Segment(pages[9:14], 6, 11),
        Segment(pages[14:16], 7, 1),
    ]
    batch = PagedBatch.build(segments, PAGE)
    keys, values = torch.randn(2, 40, PAGE, 3, 8).to(dtype)
    query = torch.randn(batch.num_tokens, 6, 8).to(dtype)
    expected = naive_attention(query, keys, values, segments, window)
    actual = paged_attention(query, keys, values, batch, window)
    assert (actual.double() - expected).abs().max() < tolerance


def test_an_infinity_in_another_sessions_page_stays_there():
    keys, values = torch.randn(2, 2, PAGE, 1, 8)
    keys[0, 2:] = values[0, 2:] = torch.inf  # the rest of the short session's page, left by another one
    batch = PagedBatch.build([Segment([0], 1, 1), Segment([1], 3, 1)], PAGE)
    assert paged_attention(torch.randn(2, 2, 8), keys, values, batch).isfinite().all()


def test_append_writes_the_slots_and_nothing_else():
    pool = torch.zeros(3, PAGE, 2, 4)
    append_kv(pool, torch.ones(2, 2, 4), torch.tensor([9, 2]))
    assert pool.flatten(0, 1).sum((1, 2)).nonzero().flatten().tolist() == [2, 9]


def test_rms_norm_and_gated_mlp_are_the_formulas():
    x, weight = torch.randn(5, 64) * 3, torch.randn(64)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    assert ((rms_norm(x, weight, 1e-5) - expected) / expected).abs().max() < 1e-6
    gate, up = wide.chunk(2, -1)
    assert torch.allclose(gated_mlp(x).double(), gate * gate.sigmoid() * up, atol=1e-5)


def test_rotary_turns_pairs_half_a_head_apart():
    x, angle = torch.randn(3, 2, 8), torch.randn(3, 4)
    angles = torch.cat((angle, angle), -1)
    turned = rotary(x, rotary_table(angles.cos(), angles.sin(), torch.float32))
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones(3, 1, 4), angle[:, None])
    assert torch.allclose(turned, torch.cat((pairs.real, pairs.imag), -1), atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 33])
def test_linear_agrees_with_float64_and_does_not_touch_the_residual(rows, dtype, tolerance):
    torch.manual_seed(rows)
    weight, bias = (torch.randn(48, 96) / 10).to(dtype), torch.randn(48).to(dtype)
    x, residual = torch.randn(rows, 96).to(dtype), torch.randn(rows, 48).to(dtype)
    before = residual.clone()
    for with_bias in (None, bias):
        linear = Linear(weight, with_bias)
        expected = x.double() @ weight.double().T + (0 if with_bias is None else bias.double())
        assert (linear(x).double() - expected).abs().max() < tolerance
        assert (linear(x, residual=residual).double() - expected - residual.double()).abs().max() < tolerance
    assert torch.equal(residual, before)


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_promises_no_bits_on_any_processor(quant, dtype):
    assert TorchBackend(quant, dtype, torch.device("cpu")).numerics_id == ""
    if quant == "none" and dtype == torch.float32:
        spec = BlockSpec(num_heads=4, num_kv_heads=2, head_dim=32, norm_eps=1e-5)
        assert choose_backend(quant, dtype, torch.device("cpu"), spec, 128, 192, threads=1).numerics_id == ""
