"""A GGUF file's metadata as a ModelConfig, by way of the Hugging Face config it was converted from."""

from dataclasses import replace
from typing import Any

import torch

from swarm.errors import ModelError
from swarm.model.config.families import ModelConfig, parse_config
from swarm.model.config.fields import Fields
from swarm.model.config.rope import RopeConfig
from swarm.model.files.gguf import GGUFFile

# "llama" also stands for Mistral, SmolLM and others whose blocks are the same; llama.cpp knows no window for them.
_ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def gguf_config(file: GGUFFile) -> ModelConfig:
    """Raises ModelError for an unsupported architecture and for metadata that is missing or makes no sense."""
    architecture = file.metadata.get("general.architecture")
    if architecture not in _ARCHITECTURES:
        raise ModelError(
            f"{file.path}: GGUF architecture {architecture!r:.60} is not supported; "
            f"supported are {', '.join(_ARCHITECTURES)}"
        )
    prefix = f"{architecture}."
    values = {key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)}
    if values.get("expert_count"):
        raise ModelError(f"{file.path}: mixtures of experts are not supported")
    config = parse_config(_hugging_face_config(file, architecture, values))
    _refuse_partial_rotation(file, values, config.head_dim)
    return replace(
        config,
        rope=_with_frequency_factors(file, config),
        qkv_bias="blk.0.attn_q.bias" in file.entries,
        o_bias="blk.0.attn_output.bias" in file.entries,
        mlp_bias="blk.0.ffn_down.bias" in file.entries,
    )


def _hugging_face_config(file: GGUFFile, architecture: str, values: dict[str, Any]) -> dict[str, Any]:
    eos = (file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    return {
        "architectures": [_ARCHITECTURES[architecture]],
        "num_hidden_layers": values.get("block_count"),
        "hidden_size": values.get("embedding_length"),
        "num_attention_heads": values.get("attention.head_count"),
        "num_key_value_heads": values.get("attention.head_count_kv"),
        "head_dim": values.get("attention.key_length", values.get("rope.dimension_count")),
        "intermediate_size": values.get("feed_forward_length"),
        "vocab_size": file.entry("token_embd.weight").shape[0],
        "rms_norm_eps": values.get("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": values.get("context_length"),
        "rope_theta": values.get("rope.freq_base"),
        "rope_scaling": _rope_scaling(values),
        "tie_word_embeddings": "output.weight" not in file.entries,
        "eos_token_id": list(dict.fromkeys(token for token in eos if token is not None)),
    }


def _rope_scaling(values: dict[str, Any]) -> dict[str, Any] | None:
    kind = values.get("rope.scaling.type", "none")
    if kind == "none":
        return None
    if values.get("rope.scaling.attn_factor", 1.0) != 1.0:
        raise ModelError("GGUF: rope.scaling.attn_factor other than 1 is not supported")
    return {
        "rope_type": kind,
        "factor": values.get("rope.scaling.factor"),
        "original_max_position_embeddings": values.get("rope.scaling.original_context_length"),
    }


def _refuse_partial_rotation(file: GGUFFile, values: dict[str, Any], head_dim: int) -> None:
    fields = Fields(values, f"{file.path}: ")
    for name in ("rope.dimension_count", "attention.value_length"):
        if fields.integer(name, 1 << 24, default=head_dim) != head_dim:
            raise ModelError(f"{file.path}: {name} {values[name]} differs from the head size {head_dim}")


def _with_frequency_factors(file: GGUFFile, config: ModelConfig) -> RopeConfig:
    """Llama 3's scaling comes as a tensor of divisors, which is what longrope has, one set for all positions."""
    if "rope_freqs.weight" not in file.entries:
        return config.rope
    if config.rope.type != "default":
        raise ModelError(f"{file.path}: rope_freqs.weight beside rope scaling {config.rope.type} is not supported")
    factors = torch.empty(config.head_dim // 2)
    file.read_into("rope_freqs.weight", factors)
    if not (factors.isfinite() & (factors > 0)).all():
        raise ModelError(f"{file.path}: rope_freqs.weight has values that are not positive")
    values = tuple(factors.tolist())
    return RopeConfig(
        "longrope",
        config.rope.theta,
        original_max_context=config.max_context,
        short_factor=values,
        long_factor=values,
    )
