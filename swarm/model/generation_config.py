"""How the makers of a model would have it sampled: generation_config.json, or what a GGUF file says of it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from swarm.errors import ModelError
from swarm.model.checkpoint import GENERATION_CONFIG, HUB, Checkpoint, read_object
from swarm.model.config.fields import Fields
from swarm.model.files.gguf import GGUFFile

_MAX_TOP_K = 1 << 30
_GGUF = {  # llama.cpp's names
    "temperature": "temp", "top_k": "top_k", "top_p": "top_p", "repetition_penalty": "penalty_repeat",
}  # fmt: skip


@dataclass(frozen=True)
class GenerationDefaults:
    """None is what they do not say. temperature 0: greedy."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None

    def options(self) -> dict[str, float]:
        """What is said, as options of `generate`."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def parse_generation_config(values: Mapping[str, Any], prefix: str = "generation_config: ") -> GenerationDefaults:
    """transformers' meaning: greedy where `do_sample` is false, whatever else stands there; top_k 0 is none. A file
    that has a temperature and does not say whether to sample means that. Raises ModelError for values that make no
    sense."""
    fields = Fields(values, prefix)
    penalty = fields.number("repetition_penalty", above=0.0) if "repetition_penalty" in fields else None
    samples = fields.flag("do_sample", default="temperature" in fields or "top_p" in fields)
    if not samples:
        return GenerationDefaults(0.0 if "do_sample" in fields else None, repetition_penalty=penalty)
    return GenerationDefaults(
        temperature=_within(fields, "temperature", math.inf) if "temperature" in fields else 1.0,
        top_k=fields.integer("top_k", _MAX_TOP_K, at_least=0) or None if "top_k" in fields else None,
        top_p=_within(fields, "top_p", 1.0) or None if "top_p" in fields else None,
        repetition_penalty=penalty,
    )


def _within(fields: Fields, name: str, at_most: float) -> float:
    """A number from 0 to `at_most`, without the noise of a float32."""
    value = fields.number(name)
    if not 0 <= value <= at_most:
        raise ModelError(f"{fields.prefix}{name} is {value:g}, not a number from 0 to {at_most:g}")
    return round(value, 6)


def load_generation_defaults(checkpoint: Checkpoint) -> GenerationDefaults:
    """Raises ModelError for a file that is broken; where there is none, nothing is said."""
    origin = checkpoint.origin
    if isinstance(origin, Path) and origin.suffix == ".gguf":
        return _from_gguf(origin)
    if isinstance(origin, Path):
        file = origin / GENERATION_CONFIG
        return parse_generation_config(read_object(file), f"{file}: ") if file.is_file() else GenerationDefaults()
    fetched = import_module(HUB).download_if_there(origin, GENERATION_CONFIG, checkpoint.revision)
    return parse_generation_config(read_object(fetched)) if fetched else GenerationDefaults()


def _from_gguf(path: Path) -> GenerationDefaults:
    metadata = GGUFFile(path).metadata
    values = {name: metadata.get(f"general.sampling.{key}") for name, key in _GGUF.items()}
    return parse_generation_config(values, f"{path}, general.sampling: ")
