"""Sampling means what it means in transformers; text never shows half a character or part of a stop string."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from swarm.errors import InvalidRequest
from swarm.generate.sampler import Sampler, keep_top_k, keep_top_p, penalise
from swarm.generate.sampling import SamplingOptions
from swarm.generate.text import TextStream

seeds = st.integers(0, 2**31)


def random_logits(seed: int, size: int = 200) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 5


@given(seeds, st.integers(1, 250))
def test_top_k_is_that_of_transformers(seed, k):
    logits = random_logits(seed)
    assert torch.equal(keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits[None])[0])


@given(seeds, st.floats(0.01, 0.999))
def test_top_p_is_that_of_transformers(seed, p):
    logits = random_logits(seed)
    assert torch.equal(keep_top_p(logits, p), TopPLogitsWarper(p)(None, logits[None])[0])


@given(seeds, st.floats(0.2, 3.0), st.sets(st.integers(0, 199), min_size=1))
def test_the_repetition_penalty_is_that_of_transformers(seed, penalty, seen):
    logits = random_logits(seed)
    reference = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([sorted(seen)]), logits[None])[0]
    assert torch.allclose(penalise(logits, seen, penalty), reference)


def test_sampling_does_not_touch_the_logits():
    logits = random_logits(1)
    before = logits.clone()
    Sampler(SamplingOptions(0.7, 10, 0.9, 1.3, seed=1), [1, 2]).pick(logits)
    assert torch.equal(logits, before)


def test_samples_follow_the_distribution():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    sampler = Sampler(SamplingOptions(temperature=1.0, seed=0), [])
    counts = torch.bincount(torch.tensor([sampler.pick(logits) for _ in range(20_000)]), minlength=3) / 20_000
    assert torch.allclose(counts, torch.tensor([0.5, 0.3, 0.2]), atol=0.015)


def test_the_same_seed_gives_the_same_tokens():
    def draw(seed: int) -> list[int]:
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=seed), [])
        return [sampler.pick(random_logits(step)) for step in range(20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("inf")},
    ],
)
def test_options_that_mean_nothing_are_refused(bad):
    with pytest.raises(InvalidRequest, match=next(iter(bad))):
        SamplingOptions(**bad)


class ByteTokenizer:
    """Every token is one byte, as the rarest characters of real byte-level tokenisers are."""

    def decode(self, token_ids, skip_special_tokens=False):
        return bytes(token_ids).decode("utf-8", errors="replace")


@given(st.text(max_size=40))
def test_pieces_add_up_to_the_text_and_are_whole_characters(text):
    stream = TextStream(ByteTokenizer())
    pieces = [stream.push(byte) for byte in text.encode()]
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    assert "".join(pieces) + stream.finish() == text == stream.text


@settings(max_examples=300)
@given(st.text(alphabet="ab.", max_size=30), st.lists(st.text(alphabet="ab.", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_string(text, stops):
    stream = TextStream(ByteTokenizer(), stops)
    shown = ""
    for byte in text.encode():
        shown += stream.push(byte)
        assert not any(stop in shown for stop in stops)
        if stream.stopped:
            break
    shown += stream.finish()
    ends = [text.find(stop) for stop in stops if stop in text]
    assert stream.stopped == bool(ends)
    if not ends:
        assert shown == text
    else:
        first = min(text.find(stop) + len(stop) for stop in stops if stop in text)  # what completes first, stops
        assert shown == stream.text
        assert text.startswith(shown)
        assert len(shown) <= first
