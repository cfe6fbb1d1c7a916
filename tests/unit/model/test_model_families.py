"""A config says what transformers would make of it, or which field is wrong."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from swarm.errors import ModelError
from swarm.model import parse_config
from swarm.model.config.rope import Rope

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
ROPES = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 3.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "yarn-all": {
        "factor": 8.0,
        "original_max_position_embeddings": 512,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.3,
        "truncate": False,
    },
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "longrope": {
        "short_factor": [1.0 + i / 10 for i in range(8)],
        "long_factor": [2.0 + i for i in range(8)],
        "original_max_position_embeddings": 16,
    },
}


def variant(**changes):
    return {**LLAMA, **changes}


def test_llama_defaults_are_those_of_transformers():
    config = parse_config(LLAMA)
    assert (config.num_kv_heads, config.head_dim, config.norm_eps, config.rope.theta) == (4, 16, 1e-6, 10_000.0)
    assert not (config.tie_embeddings or config.qkv_bias or config.o_bias or config.mlp_bias or config.qk_norm)
    assert config.windows == (None,) * 4


def test_biases_norms_and_head_sizes_follow_the_family():
    llama = parse_config(variant(attention_bias=True, mlp_bias=True, head_dim=32))
    assert (llama.qkv_bias, llama.o_bias, llama.mlp_bias, llama.head_dim) == (True, True, True, 32)
    qwen2 = parse_config(variant(architectures=["Qwen2ForCausalLM"], attention_bias=True))
    assert (qwen2.qkv_bias, qwen2.o_bias, qwen2.qk_norm) == (True, False, False)
    qwen3 = parse_config(variant(architectures=["Qwen3ForCausalLM"]))
    assert (qwen3.qkv_bias, qwen3.o_bias, qwen3.qk_norm, qwen3.head_dim) == (False, False, True, 128)
    mistral = parse_config(variant(architectures=["MistralForCausalLM"], attention_bias=True))
    assert (mistral.qkv_bias, mistral.o_bias) == (False, False)


@pytest.mark.parametrize("cls", [Qwen2Config, Qwen3Config])
@pytest.mark.parametrize(
    "fields",
    [
        {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2},
        {"use_sliding_window": False, "sliding_window": 7, "max_window_layers": 2},
        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
        {"use_sliding_window": True, "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2},
    ],
)
def test_qwen_windows_are_those_of_transformers(cls, fields):
    reference = cls(num_hidden_layers=4, **fields)
    expected = tuple(reference.sliding_window if t == "sliding_attention" else None for t in reference.layer_types)
    name = cls.__name__.replace("Config", "ForCausalLM")
    assert parse_config(variant(architectures=[name], **fields)).windows == expected


@pytest.mark.parametrize("fields", [{}, {"sliding_window": None}, {"sliding_window": 9}])
def test_mistral_windows_are_those_of_transformers(fields):
    expected = (MistralConfig(**fields).sliding_window,) * 4
    assert parse_config(variant(architectures=["MistralForCausalLM"], **fields)).windows == expected


def test_end_tokens_come_from_the_generation_config_where_it_has_them():
    assert parse_config(variant(eos_token_id=2)).eos_token_ids == (2,)
    assert parse_config(variant(eos_token_id=2), {"eos_token_id": [3, 4]}).eos_token_ids == (3, 4)
    assert parse_config(variant(eos_token_id=[2, 5]), {}).eos_token_ids == (2, 5)
    assert parse_config(LLAMA).eos_token_ids == ()


def test_an_unknown_architecture_is_named_with_those_that_are_known():
    with pytest.raises(ModelError, match=r"'MambaForCausalLM' is not supported.*LlamaForCausalLM.*Qwen3ForCausalLM"):
        parse_config(variant(architectures=["MambaForCausalLM"]))
    with pytest.raises(ModelError, match="'mamba' is not supported"):
        parse_config({"model_type": "mamba"})
    assert parse_config({**LLAMA, "architectures": None, "model_type": "llama"}).architecture == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": 1 << 60}, "hidden_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"vocab_size": "100"}, "vocab_size is '100'"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ({"num_key_value_heads": 8}, "num_key_value_heads is 8"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0"),
        ({"hidden_act": "tanhh"}, "hidden_act is 'tanhh'"),
        ({"attention_bias": 1}, "attention_bias is 1"),
        ({"eos_token_id": "x"}, "eos_token_id is 'x'"),
        ({"rope_scaling": {"type": "warp"}}, "rope_scaling.type is 'warp'"),
        ({"rope_scaling": [1]}, r"rope_scaling is \[1\]"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor is missing"),
        ({"rope_parameters": {"rope_type": "longrope", **ROPES["longrope"], "long_factor": [1]}}, "long_factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ],
)
def test_a_bad_field_is_named(changes, named):
    with pytest.raises(ModelError, match=named):
        parse_config(variant(**changes))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [*LLAMA, "head_dim", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters", "sliding_window"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values), st.sampled_from(["Llama", "Mistral", "Qwen2", "Qwen3"]))
def test_no_json_raises_anything_but_model_error(changes, family):
    changes["architectures"] = [f"{family}ForCausalLM"]
    try:
        config = parse_config(variant(**changes))
    except ModelError:
        return
    assert len(config.windows) == config.num_blocks


def _transformers(name: str, old_spelling: bool):
    kind = name.split("-")[0]
    parameters = {"rope_type": kind, "rope_theta": 5000.0, **ROPES[name]}
    config = LlamaConfig(**{k: v for k, v in LLAMA.items() if k != "architectures"}, rope_parameters=parameters)
    if old_spelling:
        spelled = {"rope_theta": 5000.0, "rope_scaling": {"type": kind, **ROPES[name]}}
    else:
        spelled = {"rope_parameters": parameters}
    return kind, config, parse_config(variant(**spelled))


@pytest.mark.parametrize("old_spelling", [False, True])
@pytest.mark.parametrize("name", [name for name in ROPES if name != "default"])
@pytest.mark.parametrize("position", [3, 15, 16, 40, 63, 64, 100])
def test_rotary_frequencies_are_those_of_transformers(name, old_spelling, position):
    kind, reference, config = _transformers(name, old_spelling)
    length = {"seq_len": position + 1} if kind in ("dynamic", "longrope") else {}
    inverse, scale = ROPE_INIT_FUNCTIONS[kind](reference, "cpu", **length)
    angles = torch.cat((inverse, inverse)) * position
    cos, sin = Rope(config.rope, config.head_dim, config.max_context)(torch.tensor([position]))
    assert torch.allclose(cos[0], angles.cos() * scale, atol=2e-5)
    assert torch.allclose(sin[0], angles.sin() * scale, atol=2e-5)


@pytest.mark.parametrize("name", ROPES)
def test_a_positions_angles_do_not_depend_on_the_chunk_it_is_in(name):
    _, _, config = _transformers(name, old_spelling=False)
    rope = Rope(config.rope, config.head_dim, config.max_context)
    whole = rope(torch.arange(100))
    parts = [rope(torch.arange(start, start + 25)) for start in range(0, 100, 25)]
    for index in range(2):
        assert torch.equal(whole[index], torch.cat([part[index] for part in parts]))
