"""From a Hugging Face config.json to what a block is: `parse_config(dict) -> ModelConfig`.

The dict comes from a stranger's repository, so every value is checked. Semantics and defaults are those of the
modeling files of transformers 5 (llama, mistral, qwen2, qwen3).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from swarm.errors import ModelError
from swarm.model.config.fields import Fields
from swarm.model.config.rope import RopeConfig, parse_rope
from swarm_kernels import ACTIVATIONS

# No model comes near these; they keep an absurd config from turning into an absurd allocation.
_MAX_BLOCKS = 10_000
_MAX_HEADS = 1 << 16
_MAX_SIZE = 1 << 24
_MAX_CONTEXT = 1 << 30


@dataclass(frozen=True)
class ModelConfig:
    """Everything about a model that its tensors do not tell."""

    architecture: str  # "LlamaForCausalLM"
    model_type: str  # "llama"
    num_blocks: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    norm_eps: float
    rope: RopeConfig
    max_context: int  # tokens
    tie_embeddings: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool  # an RMSNorm over head_dim on every query and key head, before the rotation
    activation: str  # a key of swarm_kernels.ACTIVATIONS
    windows: tuple[int | None, ...]  # per block: how far back a query sees, itself included; None: all
    eos_token_ids: tuple[int, ...]

    def __repr__(self) -> str:
        sizes = f"{self.num_blocks} blocks, hidden size {self.hidden_size:,}, vocabulary {self.vocab_size:,}"
        return f"<ModelConfig {self.architecture}, {sizes}, context {self.max_context:,}>"

    def canonical(self) -> bytes:
        """The same bytes for the same config, on every machine: JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True).encode()


@dataclass(frozen=True)
class _Family:
    """How one architecture reads its config; each callable takes the config's fields."""

    model_type: str
    max_context: int  # transformers' default for a config that does not say
    windows: Callable[[Fields, int], tuple[int | None, ...]]
    qkv_bias: Callable[[Fields], bool] = lambda fields: False
    o_bias: Callable[[Fields], bool] = lambda fields: False
    mlp_bias: Callable[[Fields], bool] = lambda fields: False
    qk_norm: bool = False
    head_dim: int | None = None  # default for a config that does not say; None: hidden_size / num_heads


def _attention_bias(fields: Fields) -> bool:
    return fields.flag("attention_bias")


def _no_windows(fields: Fields, num_blocks: int) -> tuple[int | None, ...]:
    return (None,) * num_blocks


def _one_window(fields: Fields, num_blocks: int) -> tuple[int | None, ...]:
    """Mistral: every block has the window. An explicit null means none, but a missing field means 4096."""
    if fields.is_null("sliding_window"):
        return (None,) * num_blocks
    return (fields.integer("sliding_window", _MAX_CONTEXT, default=4096),) * num_blocks


def _late_windows(fields: Fields, num_blocks: int) -> tuple[int | None, ...]:
    """Qwen: windows only if `use_sliding_window`, on the blocks that `layer_types` or `max_window_layers` says."""
    use = fields.flag("use_sliding_window") and not fields.is_null("sliding_window")
    window = fields.integer("sliding_window", _MAX_CONTEXT, default=4096) if use else None
    if "layer_types" in fields:
        types = fields.choices("layer_types", ("full_attention", "sliding_attention"), num_blocks)
        return tuple(window if kind == "sliding_attention" else None for kind in types)
    first = fields.integer("max_window_layers", _MAX_BLOCKS, at_least=0, default=28)
    return tuple(window if block >= first else None for block in range(num_blocks))


_FAMILIES = {
    "LlamaForCausalLM": _Family(
        "llama",
        max_context=2048,
        windows=_no_windows,
        qkv_bias=_attention_bias,
        o_bias=_attention_bias,
        mlp_bias=lambda fields: fields.flag("mlp_bias"),
    ),
    "MistralForCausalLM": _Family("mistral", max_context=131_072, windows=_one_window),
    "Qwen2ForCausalLM": _Family("qwen2", max_context=32_768, windows=_late_windows, qkv_bias=lambda fields: True),
    "Qwen3ForCausalLM": _Family(
        "qwen3",
        max_context=32_768,
        windows=_late_windows,
        qkv_bias=_attention_bias,
        o_bias=_attention_bias,
        qk_norm=True,
        head_dim=128,
    ),
}


def parse_config(config: Mapping[str, Any], generation_config: Mapping[str, Any] | None = None) -> ModelConfig:
    """Reads a config.json; where given, generation_config.json decides on end-of-sequence tokens, as in `generate`.

    Raises ModelError, naming the architecture or the field that is missing or makes no sense.
    """
    architecture, family = _family_of(config)
    fields = Fields(config)
    num_blocks = fields.integer("num_hidden_layers", _MAX_BLOCKS)
    hidden_size = fields.integer("hidden_size", _MAX_SIZE)
    num_heads = fields.integer("num_attention_heads", _MAX_HEADS)
    num_kv_heads = fields.integer("num_key_value_heads", num_heads, default=num_heads)
    if num_heads % num_kv_heads:
        raise ModelError(
            f"config: num_attention_heads {num_heads} is not a multiple of num_key_value_heads {num_kv_heads}"
        )
    head_dim = fields.integer("head_dim", _MAX_SIZE, 4, default=family.head_dim or hidden_size // num_heads)
    if head_dim % 2:
        raise ModelError(f"config: head_dim is {head_dim}, not even: rotary embedding turns pairs")
    max_context = fields.integer("max_position_embeddings", _MAX_CONTEXT, default=family.max_context)
    return ModelConfig(
        architecture=architecture,
        model_type=family.model_type,
        num_blocks=num_blocks,
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        intermediate_size=fields.integer("intermediate_size", _MAX_SIZE),
        vocab_size=fields.integer("vocab_size", _MAX_SIZE),
        norm_eps=fields.number("rms_norm_eps", above=0.0, default=1e-6),
        rope=parse_rope(fields, head_dim, max_context),
        max_context=max_context,
        tie_embeddings=fields.flag("tie_word_embeddings"),
        qkv_bias=family.qkv_bias(fields),
        o_bias=family.o_bias(fields),
        mlp_bias=family.mlp_bias(fields),
        qk_norm=family.qk_norm,
        activation=fields.choice("hidden_act", tuple(ACTIVATIONS), default="silu"),
        windows=family.windows(fields, num_blocks),
        eos_token_ids=_eos_token_ids(config, generation_config or {}),
    )


def _family_of(config: Mapping[str, Any]) -> tuple[str, _Family]:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name is None:  # some repositories state only the model type
        name = next((key for key, family in _FAMILIES.items() if family.model_type == config.get("model_type")), None)
    if not isinstance(name, str) or name not in _FAMILIES:
        found = name if name is not None else config.get("model_type")
        raise ModelError(f"architecture {found!r:.60} is not supported; supported are {', '.join(_FAMILIES)}")
    return name, _FAMILIES[name]


def _eos_token_ids(config: Mapping[str, Any], generation_config: Mapping[str, Any]) -> tuple[int, ...]:
    value = generation_config.get("eos_token_id")
    value = config.get("eos_token_id") if value is None else value
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if any(isinstance(token, bool) or not isinstance(token, int) or token < 0 for token in ids):
        raise ModelError(f"config: eos_token_id is {value!r:.60}, not a token id or a list of them")
    return tuple(ids)
