"""Rotary position embedding: inverse frequencies and scaling of every type that transformers knows for our families.

RoPE: Su et al., 2021 (arXiv 2104.09864); NTK-aware scaling: u/bloc97 and u/emozilla; YaRN: Peng et al., 2023
(arXiv 2309.00071); LongRoPE: Ding et al., 2024 (arXiv 2402.13753). Formulas follow transformers' modeling_rope_utils.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.errors import ModelError
from swarm.model.config.fields import Fields

ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")


@dataclass(frozen=True)
class RopeConfig:
    """Parameters keep transformers' names; those that a type does not use stay None or at their default."""

    type: str = "default"
    theta: float = 10_000.0
    factor: float = 1.0
    original_max_context: int = 0  # tokens of context before the stretching
    attention_factor: float = 1.0  # cos and sin are multiplied by it
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    short_factor: tuple[float, ...] = ()  # [head_dim / 2], for positions below original_max_context
    long_factor: tuple[float, ...] = ()  # [head_dim / 2], for positions from there on


def parse_rope(fields: Fields, head_dim: int, max_context: int) -> RopeConfig:
    """From `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before). Raises ModelError."""
    section = fields.section("rope_parameters" if "rope_parameters" in fields else "rope_scaling")
    kind = section.choice("rope_type", ROPE_TYPES, default=section.choice("type", ROPE_TYPES, default="default"))
    theta = section.number("rope_theta", above=1.0, default=fields.number("rope_theta", above=1.0, default=10_000.0))
    for place in (fields, section):
        if place.number("partial_rotary_factor", default=1.0) != 1.0:
            raise ModelError("config: partial_rotary_factor is not 1, which is not supported")
    if kind == "default":
        return RopeConfig(theta=theta)
    if kind in ("linear", "dynamic"):
        return RopeConfig(kind, theta, section.number("factor", above=0.0))
    # Phi-3 and its like keep the trained length beside the section; transformers gives that one priority.
    place = fields if "original_max_position_embeddings" in fields else section
    original = place.integer("original_max_position_embeddings", 1 << 30, default=max_context)
    if kind == "llama3":
        low, high = section.number("low_freq_factor", above=0.0), section.number("high_freq_factor", above=0.0)
        if high <= low:
            raise ModelError(f"config: high_freq_factor {high} is not above low_freq_factor {low}")
        factor = section.number("factor", above=0.0)
        return RopeConfig(kind, theta, factor, original, low_freq_factor=low, high_freq_factor=high)
    factor = section.number("factor", above=0.0, default=max_context / original)
    if kind == "yarn":
        return RopeConfig(
            kind,
            theta,
            factor,
            original,
            attention_factor=_yarn_attention_factor(section, factor),
            beta_fast=section.number("beta_fast", above=0.0, default=32.0),
            beta_slow=section.number("beta_slow", above=0.0, default=1.0),
            truncate=section.flag("truncate", default=True),
        )
    stretch = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 and original > 1 else 1.0
    return RopeConfig(
        kind,
        theta,
        factor,
        original,
        attention_factor=section.number("attention_factor", above=0.0, default=stretch),
        short_factor=section.numbers("short_factor", head_dim // 2, above=0.0),
        long_factor=section.numbers("long_factor", head_dim // 2, above=0.0),
    )


def _yarn_attention_factor(section: Fields, factor: float) -> float:
    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weight, weight_all = section.number("mscale", default=0.0), section.number("mscale_all_dim", default=0.0)
    inferred = mscale(weight) / mscale(weight_all) if weight > 0 and weight_all > 0 else mscale(1.0)
    return section.number("attention_factor", above=0.0, default=inferred)


class Rope:
    """Positions to angles: `cos, sin = rope(positions)`.

    Two types depend on the length of the sequence: dynamic and longrope. transformers applies the frequencies of the
    step's longest position to all tokens of that step, so what a token's key becomes depends on how its prompt was
    cut into chunks. Here every token gets the frequencies for a sequence that ends with it (position + 1): chunking,
    batching and replay cannot change a cached key.
    """

    def __init__(self, config: RopeConfig, head_dim: int, max_context: int):
        self._config = config
        self._head_dim = head_dim
        self._max_context = max_context
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        self._exponents = exponents
        self._inverse = _inverse_frequencies(config, exponents, config.short_factor)
        self._inverse_long = _inverse_frequencies(config, exponents, config.long_factor)

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions [tokens] int64 -> cos, sin, each [tokens, head_dim] float32; both halves are the same."""
        angles = positions[:, None].float() * self._frequencies(positions)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos() * self._config.attention_factor, angles.sin() * self._config.attention_factor

    def _frequencies(self, positions: Tensor) -> Tensor:
        """[head_dim / 2], or [tokens, head_dim / 2] where they depend on the position"""
        inverse = self._inverse.to(positions.device)
        lengths = positions[:, None] + 1
        if self._config.type == "longrope":
            beyond = lengths > self._config.original_max_context
            return torch.where(beyond, self._inverse_long.to(positions.device), inverse)
        if self._config.type == "dynamic":
            factor = self._config.factor
            # In float64: torch's vectorised power differs in the last bit from the scalar one it uses for odd ends.
            stretch = factor * lengths.clamp(min=self._max_context).double() / self._max_context - (factor - 1)
            theta = self._config.theta * stretch ** (self._head_dim / (self._head_dim - 2))
            return (theta ** -self._exponents.to(positions.device)).float()
        return inverse


def _inverse_frequencies(config: RopeConfig, exponents: Tensor, factors: tuple[float, ...]) -> Tensor:
    """[head_dim / 2] float32, for sequences within the trained length where the type distinguishes them."""
    frequencies = 1.0 / (config.theta**exponents)
    if config.type == "linear":
        return frequencies / config.factor
    if config.type == "longrope":
        return frequencies / torch.tensor(factors, dtype=torch.float32)
    if config.type == "llama3":
        return _llama3(config, frequencies)
    if config.type == "yarn":
        return _yarn(config, frequencies)
    return frequencies


def _llama3(config: RopeConfig, frequencies: Tensor) -> Tensor:
    """Short wavelengths stay, long ones are stretched by the factor, those between blend (Llama 3.1)."""
    turns = config.original_max_context * frequencies / (2 * math.pi)  # within the trained context
    low, high = config.low_freq_factor, config.high_freq_factor
    if low is None or high is None:
        raise ValueError("rope of type llama3 needs low_freq_factor and high_freq_factor")  # parse_rope has them
    smooth = (turns - low) / (high - low)
    smooth = smooth.clamp(0, 1)
    return (1 - smooth) * frequencies / config.factor + smooth * frequencies


def _yarn(config: RopeConfig, frequencies: Tensor) -> Tensor:
    """Interpolates slow dimensions, keeps fast ones, with a ramp between (YaRN, section 3.2)."""
    head_dim = 2 * frequencies.shape[0]

    def dimension(turns: float) -> float:  # which dimension makes this many turns within the trained context
        return head_dim * math.log(config.original_max_context / (turns * 2 * math.pi)) / (2 * math.log(config.theta))

    low, high = dimension(config.beta_fast), dimension(config.beta_slow)
    if config.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # a step instead of a ramp, as transformers does
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return frequencies / config.factor * ramp + frequencies * (1 - ramp)
