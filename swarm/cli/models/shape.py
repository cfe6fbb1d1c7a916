"""What there is to know of a model's size without its weights."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from swarm.errors import ModelError
from swarm.model.checkpoint import CONFIG, INDEX, config_file, read_config, read_object
from swarm.model.config.families import ModelConfig
from swarm.model.config.fields import Fields
from swarm.model.files.gguf import GGUFFile
from swarm.model.files.safetensors import SafetensorsFile
from swarm.model.files.tensors import TensorEntry
from swarm.model.kv_cache import token_nbytes
from swarm.model.layout import block_parts, block_weights
from swarm.storage.files import expanded

_BLOCK = re.compile(r"(.*\.)?(?:layers?|blocks?|h|blk)\.(\d{1,5})\.")
_INTEGERS = re.compile(r"[IU]\d+|BOOL")  # safetensors' types: quantised and packed, so that the shape does not tell
_MOST = 1 << 24


@dataclass(frozen=True)
class Shape:
    """Sizes of one model. None: not known."""

    name: str
    architecture: str
    num_blocks: int
    block_weights: int  # numbers that a block consists of; where blocks differ, the largest
    kv_values: int | None  # numbers that a block keeps of every token
    row_lengths: frozenset[int] = frozenset()  # of its matrices
    hidden_size: int | None = None
    max_context: int | None = None  # tokens
    trouble: str = ""  # why servers cannot serve it


def read_shape(model: str, revision: str | None = None) -> Shape:
    """Raises ModelError for a model that cannot be found, or of which too little is known."""
    file = config_file(model, revision)
    try:
        return _by_config(_name(model, file), read_config(file))
    except ModelError as error:
        shape = _by_headers(_name(model, file), file)
        if shape is None:
            raise
        return replace(shape, trouble=str(error))


def _name(model: str, file: Path) -> str:
    """Such as "llama-3-8b", of shapes/llama-3-8b.json, of models/llama-3-8b and of llama-3-8b.gguf."""
    path = expanded(model)
    if model == "demo" or not path.exists():
        return model
    return file.resolve().parent.name if file.name == CONFIG else file.stem


def _by_config(name: str, config: ModelConfig) -> Shape:
    kept = token_nbytes(config, 1, torch.uint8)
    parts = [part for parts in block_parts(config).values() for part in parts]
    return Shape(
        name,
        config.architecture,
        config.num_blocks,
        block_weights(config),
        kept,
        frozenset(part.shape[-1] for part in parts if len(part.shape) > 1),
        config.hidden_size,
        config.max_context,
    )


def _by_headers(name: str, file: Path) -> Shape | None:
    """Of an architecture that is not known here. None: the headers are not here, or do not tell."""
    try:
        values, entries = _read_gguf(file) if file.suffix == ".gguf" else _read_folder(file)
    except ModelError:
        return None
    sizes = _block_sizes(entries)
    if not sizes:
        return None
    architectures = values.get("architectures")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else values.get("model_type")
    return Shape(name, f"{architecture or '?'!s:.60}", len(sizes), max(sizes), _kv_values(values))


Entries = Iterable[tuple[str, TensorEntry]]


def _read_gguf(file: Path) -> tuple[Mapping[str, Any], Entries]:
    """The config as Hugging Face's names have it, as far as it is needed, and the tensors."""
    opened = GGUFFile(file)
    architecture = opened.metadata.get("general.architecture")
    said = {key: opened.metadata.get(f"{architecture}.{key}") for key in (
        "attention.head_count", "attention.head_count_kv", "attention.key_length", "embedding_length",
    )}  # fmt: skip
    values = dict(zip(("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size"), said.values(),
                      strict=True))  # fmt: skip
    return {"model_type": architecture, **values}, opened.entries.items()


def _read_folder(file: Path) -> tuple[Mapping[str, Any], Entries]:
    """Raises ModelError unless all files of tensors are beside the config."""
    folder, values = file.parent, read_object(file)
    index = folder / INDEX
    if index.is_file():
        shards = set(Fields(read_object(index), f"{index}: ").words("weight_map").values())
    else:
        shards = {path.name for path in folder.glob("*.safetensors")}
    paths = [folder / shard for shard in sorted(shards)]
    if not all(path.name == shard and path.is_file() for path, shard in zip(paths, sorted(shards), strict=True)):
        raise ModelError(f"{folder} does not have all files of the model")
    return values, [item for path in paths for item in SafetensorsFile(path).entries.items()]


def _block_sizes(entries: Entries) -> list[int]:
    """Numbers in each block; empty if that is not to be seen. Of several rows of blocks, such as a vision tower's
    beside the text's, the largest."""
    rows: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for name, entry in entries:
        if match := _BLOCK.match(name):
            if _INTEGERS.fullmatch(entry.kind):
                return []
            rows[match[1] or ""][int(match[2])] += math.prod(entry.shape)
    return list(max(rows.values(), key=lambda row: sum(row.values()), default={}).values())


def _kv_values(values: Mapping[str, Any]) -> int | None:
    """Of ordinary attention. values: of a config.json."""
    fields = Fields(values)
    if "kv_lora_rank" in fields:  # what such a model keeps is no keys and values
        return None
    try:
        if "text_config" in fields:
            return _kv_values(values["text_config"] if isinstance(values["text_config"], dict) else {})
        heads = fields.integer("num_attention_heads", _MOST)
        kv_heads = fields.integer("num_key_value_heads", _MOST, default=heads)
        hidden = fields.integer("hidden_size", _MOST)
        return 2 * kv_heads * fields.integer("head_dim", _MOST, default=hidden // heads)
    except ModelError:
        return None
