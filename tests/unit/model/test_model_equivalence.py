"""Small random models of every family give transformers' logits: in ranges, over scattered pages, chunk by chunk."""

import gguf
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from gguf_writing import write_gguf
from paged import PagedModel
from swarm.model import open_checkpoint
from swarm_kernels import FORMATS

SIZES = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,  # weights large enough for every part to show in the logits
    "bos_token_id": None,
    "eos_token_id": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama-biases-llama3": (
        LlamaForCausalLM,
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
    ),
    "llama-wide-heads-yarn": (LlamaForCausalLM, LlamaConfig(**SIZES, head_dim=12, rope_parameters=YARN)),
    "mistral-window": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=7)),
    "mistral-linear": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=None, rope_parameters=LINEAR)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen2-late-windows": (
        Qwen2ForCausalLM,
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=3),
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=16)),
    "qwen3-biases-window": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **SIZES,
            head_dim=16,
            attention_bias=True,
            use_sliding_window=True,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
        ),
    ),
}
TOKENS = torch.randint(0, 61, (40,), generator=torch.Generator().manual_seed(7)).tolist()
CHUNKS = (9, 1, 14, 4, *[1] * 12)  # prefill in uneven chunks, then decode


def random_model(name):
    cls, config = MODELS[name]
    torch.manual_seed(1)
    model = cls(config).eval()
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if key.endswith("bias") or "norm" in key:  # transformers starts them at 0 and 1, where mistakes hide
                tensor.uniform_(0.5, 1.5)
    return model


def expected_logits(model):
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0].float()


def stepwise_logits(paged):
    rows, start = [], 0
    for count in CHUNKS:
        rows.append(paged.step({0: (start, TOKENS[start : start + count])})[0])
        start += count
    return torch.cat(rows)


@pytest.mark.parametrize("name", MODELS)
def test_ranges_over_pages_give_the_logits_of_transformers(name, tmp_path):
    model = random_model(name)
    model.save_pretrained(tmp_path, max_shard_size="100KB" if name == "qwen2-late-windows" else "1GB")
    checkpoint = open_checkpoint(str(tmp_path))
    logits = stepwise_logits(PagedModel(checkpoint, cuts=[1, 4]))
    expected = expected_logits(model)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max().clamp(min=1)


def test_a_sharded_folder_was_among_them(tmp_path):
    random_model("qwen2-late-windows").save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3


@pytest.mark.parametrize("name", ["llama-biases-llama3", "qwen3"])
def test_bfloat16_agrees_loosely(name, tmp_path):
    model = random_model(name)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    expected = expected_logits(model.float())
    logits = stepwise_logits(PagedModel(open_checkpoint(str(tmp_path)), cuts=[2], dtype=torch.bfloat16))
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() / expected.norm() < 0.05


@pytest.mark.parametrize("name", ["llama", "mistral-window", "qwen2"])
def test_a_step_back_overwrites_what_came_after(name, tmp_path):
    model = random_model(name)
    model.save_pretrained(tmp_path)
    paged = PagedModel(open_checkpoint(str(tmp_path)), cuts=[3])
    paged.step({0: (0, TOKENS[:10] + [5] * 9)})
    assert torch.allclose(paged.step({0: (10, TOKENS[10:])})[0], expected_logits(model)[10:], rtol=0, atol=1e-3)


def test_sessions_of_one_batch_do_not_meet(tmp_path):
    random_model("qwen3-biases-window").save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    prompts = [TOKENS[i : i + 3 + 4 * i] for i in range(5)]
    together = PagedModel(checkpoint, cuts=[2], sessions=5).greedy(prompts, 10)
    alone = [PagedModel(checkpoint, cuts=[2]).greedy([prompt], 10)[0] for prompt in prompts]
    assert together == alone


def test_part_of_a_range_can_be_computed_and_leaves_the_other_blocks_caches_alone(tmp_path):
    random_model("llama").save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    whole, split = PagedModel(checkpoint, cuts=[]), PagedModel(checkpoint, cuts=[])
    hidden = whole.ends.embed(TOKENS)
    from_whole = _forward(whole, hidden)
    half = _forward(split, hidden, 0, 2)
    assert all(pool.isnan().all() for pool in split.caches[0][2])
    assert torch.equal(_forward(split, half, 2, 5), from_whole)
    assert torch.equal(hidden, whole.ends.embed(TOKENS)), "the input was changed"


def _forward(paged, hidden, start=None, stop=None):
    batch = paged.ranges[0].layout(paged.segments({0: (0, TOKENS)}), paged.page_size)
    return paged.ranges[0].forward(hidden, batch, paged.caches[0], start, stop)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("llama", "llama"), ("llama-biases-llama3", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")],
)
def test_a_gguf_file_gives_the_logits_of_the_model_it_was_made_from(name, architecture, tmp_path):
    model = random_model(name)
    write_gguf(model, tmp_path / "small.gguf", architecture)
    checkpoint = open_checkpoint(str(tmp_path / "small.gguf"))
    assert checkpoint.name == "small"
    assert checkpoint.config.tie_embeddings == model.config.tie_word_embeddings
    expected = expected_logits(model)
    assert (stepwise_logits(PagedModel(checkpoint, cuts=[2])) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q8_0"])
def test_every_gguf_type_is_read_as_gguf_itself_reads_it(kind, tmp_path):
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, "hidden_size": 192, "intermediate_size": 96})).eval()
    path, file_type = tmp_path / "quantised.gguf", gguf.GGMLQuantizationType[kind]
    write_gguf(model, path, "llama", file_type)
    block = open_checkpoint(str(path)).load_block(3, torch.float32)
    written = model.model.layers[3].mlp
    weight = torch.cat((written.gate_proj.weight, written.up_proj.weight)).detach().numpy()
    expected = gguf.quants.dequantize(gguf.quants.quantize(weight, file_type), file_type)
    assert torch.equal(block["gate_up"], torch.from_numpy(expected))


@pytest.mark.parametrize(("kind", "format"), [("Q4_0", "int4"), ("Q4_1", "int4"), ("Q8_0", "int8")])
def test_quantised_gguf_tensors_are_taken_over_without_another_rounding(kind, format, tmp_path):
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, "hidden_size": 192, "intermediate_size": 96})).eval()
    write_gguf(model, tmp_path / "quantised.gguf", "llama", gguf.GGMLQuantizationType[kind])
    checkpoint = open_checkpoint(str(tmp_path / "quantised.gguf"))
    restored, exact = checkpoint.load_block(3, torch.float32, FORMATS[format]), checkpoint.load_block(3, torch.float32)
    for name in ("qkv", "o", "gate_up", "down"):
        assert torch.equal(restored[name].dequantize(), exact[name]), name
    assert torch.equal(restored["attn_norm"], exact["attn_norm"])
