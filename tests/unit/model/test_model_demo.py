"""The demo model, end to end: its file is read right, its tokens are transformers' tokens, its text survives."""

from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from paged import PagedModel
from swarm.errors import InvalidRequest
from swarm.model import BlockRange, ModelEnds
from swarm.model.checkpoint import demo_file
from swarm_kernels import Segment

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n    ",
    "Water boils at",
    "1 2 3 4 5",
    "In 1969, the first",
    "Dear Sir or Madam, I am writing to",
    "Q: What is the largest planet?\nA:",
]


def reference_greedy(model, ids, count):
    generated = model.generate(torch.tensor([ids]), max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return generated[0, len(ids) :].tolist()


@pytest.fixture(scope="module")
def prompts(demo_tokenizer):
    return [demo_tokenizer.encode(prompt) for prompt in PROMPTS]


def test_blocks_are_what_gguf_dequantises_with_rows_put_back(demo_checkpoint):
    config, tensors = demo_checkpoint.config, {t.name: t for t in gguf.GGUFReader(demo_file()).tensors}

    def dequantised(name, rows=None):
        data = tensors[name].data[:rows]
        return torch.from_numpy(gguf.quants.dequantize(data, tensors[name].tensor_type).copy())

    def unpermuted(name, heads):
        weight = dequantised(name)
        return torch.cat([torch.cat((head[0::2], head[1::2])) for head in weight.chunk(heads)])

    for index in (0, 29):
        block = demo_checkpoint.load_block(index, torch.float32)
        q = unpermuted(f"blk.{index}.attn_q.weight", config.num_heads)
        k = unpermuted(f"blk.{index}.attn_k.weight", config.num_kv_heads)
        assert torch.equal(block["qkv"], torch.cat((q, k, dequantised(f"blk.{index}.attn_v.weight"))))
        gate, up = (dequantised(f"blk.{index}.ffn_{name}.weight") for name in ("gate", "up"))
        assert torch.equal(block["gate_up"], torch.cat((gate, up)))
        for name, stem in {"o": "attn_output", "down": "ffn_down", "attn_norm": "attn_norm"}.items():
            assert torch.equal(block[name], dequantised(f"blk.{index}.{stem}.weight"))
    rows = dequantised("token_embd.weight", 4000)
    assert torch.equal(demo_checkpoint.load_embedding(torch.float32)[:4000], rows)


@pytest.mark.slow
def test_transformers_reads_the_same_model_from_the_file(reference_model, prompts):
    path = demo_file()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    with torch.no_grad():
        for ids in prompts:
            ours, theirs = (m(torch.tensor([ids])).logits for m in (reference_model, model))
            assert torch.allclose(ours, theirs, atol=1e-3)


def test_greedy_tokens_in_ranges_are_those_of_transformers_alone_and_batched(demo_checkpoint, reference_model, prompts):
    paged = PagedModel(demo_checkpoint, cuts=[7, 20], page_size=16, pages_per_session=4, sessions=8)
    expected = [reference_greedy(reference_model, ids, 8) for ids in prompts]
    assert paged.greedy(prompts, 8) == expected
    for ids, tokens in zip(prompts[:2], expected, strict=False):
        assert paged.greedy([ids], 8) == [tokens]


def test_logits_agree_closely_with_transformers(demo_checkpoint, reference_model, prompts):
    paged = PagedModel(demo_checkpoint, cuts=[15], page_size=16, pages_per_session=4)
    for ids in prompts[:3]:
        with torch.no_grad():
            expected = reference_model(torch.tensor([ids])).logits[0]
        assert (paged.step({0: (0, ids)})[0] - expected).abs().max() < 1e-3


def test_bfloat16_mostly_chooses_the_same_tokens(demo_checkpoint, reference_model, prompts):
    paged = PagedModel(demo_checkpoint, cuts=[10], dtype=torch.bfloat16, page_size=16, pages_per_session=4)
    agree = total = 0
    for ids in prompts:
        with torch.no_grad():
            expected = reference_model(torch.tensor([ids])).logits[0].argmax(-1)
        agree += int((paged.step({0: (0, ids)})[0].argmax(-1) == expected).sum())
        total += len(ids)
    assert agree / total > 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_decode_step_is_the_same_alone_and_in_a_ragged_batch(demo_checkpoint, dtype):
    """To the bit where a numerics id promises it, which is what makes a hop's output recomputable; else to rounding."""
    torch.manual_seed(0)
    blocks = BlockRange.load(demo_checkpoint, 0, 3, dtype)
    filled = [tuple(torch.randn(120, 16, 3, 64).to(dtype) for _ in "kv") for _ in range(3)]
    starts = [3, 17, 40, 64, 99, 128, 160, 1000]
    tables = torch.randperm(120).split([start // 16 + 1 for start in starts] + [19])
    segments = [Segment(table, start, 1) for table, start in zip(tables, starts, strict=False)]
    hidden = torch.randn(8, 576).to(dtype)

    def compute(rows):
        cache = [(keys.clone(), values.clone()) for keys, values in filled]
        return blocks.forward(hidden[rows], blocks.layout([segments[row] for row in rows], 16), cache)

    together = compute(range(8))
    for size in (1, 2, 3, 5):
        for first in range(0, 8, size):
            rows = list(range(first, min(first + size, 8)))
            if blocks.numerics_id:
                assert torch.equal(compute(rows), together[rows])
            else:
                difference = (compute(rows).float() - together[rows].float()).norm(dim=1)
                assert (difference <= 4 * torch.finfo(dtype).eps * together[rows].float().norm(dim=1)).all()


def test_token_ids_are_embedded_or_refused(demo_checkpoint):
    ends = ModelEnds.load(demo_checkpoint, torch.float32)
    rows = demo_checkpoint.load_embedding(torch.float32)[[49151, 0, 7]]
    assert torch.equal(ends.embed([49151, 0, 7]), rows)
    assert ends.embed([]).shape == (0, 576)
    for bad in (-1, 49152):
        with pytest.raises(InvalidRequest, match=str(bad)):
            ends.embed([0, bad])


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world! It's 3.14159 and 2024-05-06.",
        "  two  spaces\n\n\tand a tab \r\n ",
        "héllo wörld, 日本語, Ελληνικά, עברית",
        "emoji 😀👩‍👩‍👧 and flags 🇫🇷",
        "\x00\x7f\ufeff",
        "",
    ],
)
def test_text_survives_encoding(demo_tokenizer, text):
    assert demo_tokenizer.decode(demo_tokenizer.encode(text)) == text


def test_digits_are_single_tokens_and_words_are_not(demo_tokenizer):
    assert len(demo_tokenizer.encode("98765")) == 5
    assert demo_tokenizer.encode("hello world") == [28120, 905]


def test_special_tokens_and_chat_template_are_the_models(demo_tokenizer, demo_checkpoint):
    assert demo_tokenizer.encode("<|im_start|>") == [1]
    assert demo_tokenizer.decode([1, 28120, 2], skip_special_tokens=True) == "hello"
    assert (demo_tokenizer.eos_token, demo_tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert demo_checkpoint.config.eos_token_ids == (2,)
    text = demo_tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert len(demo_tokenizer) == demo_checkpoint.config.vocab_size


@pytest.mark.slow
def test_tokens_are_those_of_transformers(demo_tokenizer):
    path = demo_file()
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = Path(gguf.__file__).with_name("gguf_reader.py").read_text()
    assert demo_tokenizer.encode(text) == theirs.encode(text)
