"""Which tensors a model consists of, what they are called in each file format, how those of a block are fused, and how
much memory they take."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from swarm.model.config.families import ModelConfig
from swarm_kernels import weight_bits


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor as files hold it: the projection or norm it belongs to ("q"), "weight" or "bias", and its shape."""

    stem: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Naming:
    """A format's tensor names; `{}` in `block` stands for the block's index, the stem and "weight" or "bias"."""

    block: str
    stems: Mapping[str, str]
    embedding: str
    final_norm: str
    head: str

    def name(self, index: int, part: Part) -> str:
        return self.block.format(index, self.stems[part.stem], part.kind)


HUGGING_FACE = Naming(
    block="model.layers.{}.{}.{}",
    stems={
        "attn_norm": "input_layernorm",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "q_norm": "self_attn.q_norm",
        "k_norm": "self_attn.k_norm",
        "mlp_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    },
    embedding="model.embed_tokens.weight",
    final_norm="model.norm.weight",
    head="lm_head.weight",
)

GGUF = Naming(
    block="blk.{}.{}.{}",
    stems={
        "attn_norm": "attn_norm",
        "q": "attn_q",
        "k": "attn_k",
        "v": "attn_v",
        "o": "attn_output",
        "q_norm": "attn_q_norm",
        "k_norm": "attn_k_norm",
        "mlp_norm": "ffn_norm",
        "gate": "ffn_gate",
        "up": "ffn_up",
        "down": "ffn_down",
    },
    embedding="token_embd.weight",
    final_norm="output_norm.weight",
    head="output.weight",
)


def block_parts(config: ModelConfig) -> dict[str, tuple[Part, ...]]:
    """The tensors of a block under the names `load_block` returns, each with its parts in the order of their rows.

    qkv, gate_up: weights of products that share their input, one below the other, so that a step does one product.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    rows = {"q": query, "k": key, "v": key, "o": hidden, "gate": inner, "up": inner, "down": hidden}
    columns = {"o": query, "down": inner}

    def weights(*stems: str) -> tuple[Part, ...]:
        return tuple(Part(stem, "weight", (rows[stem], columns.get(stem, hidden))) for stem in stems)

    def biases(*stems: str) -> tuple[Part, ...]:
        return tuple(Part(stem, "bias", (rows[stem],)) for stem in stems)

    def norm(stem: str, size: int) -> tuple[Part, ...]:
        return (Part(stem, "weight", (size,)),)

    parts = {
        "attn_norm": norm("attn_norm", hidden),
        "qkv": weights("q", "k", "v"),
        "o": weights("o"),
        "mlp_norm": norm("mlp_norm", hidden),
        "gate_up": weights("gate", "up"),
        "down": weights("down"),
    }
    if config.qk_norm:
        parts |= {"q_norm": norm("q_norm", config.head_dim), "k_norm": norm("k_norm", config.head_dim)}
    if config.qkv_bias:
        parts["qkv_bias"] = biases("q", "k", "v")
    if config.o_bias:
        parts["o_bias"] = biases("o")
    if config.mlp_bias:
        parts |= {"gate_up_bias": biases("gate", "up"), "down_bias": biases("down")}
    return parts


def fused_shape(parts: tuple[Part, ...]) -> tuple[int, ...]:
    return (sum(part.shape[0] for part in parts), *parts[0].shape[1:])


def block_weights(config: ModelConfig) -> int:
    """How many numbers a block consists of."""
    return sum(math.prod(part.shape) for parts in block_parts(config).values() for part in parts)


def packed_nbytes(weights: int, quant: str, dtype: torch.dtype) -> float:
    """Bytes that so many weights take in memory. quant: one of swarm_kernels.QUANTS. dtype: of what is not
    quantised."""
    return weights * weight_bits(quant, dtype) / 8


def blocks_within(memory_bytes: float, block_nbytes: float, num_blocks: int) -> int:
    """How many of a model's blocks have room in so much memory."""
    return max(min(int(memory_bytes / block_nbytes), num_blocks), 0)
