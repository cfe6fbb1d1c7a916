"""Reading safetensors: 8 bytes of header length, a JSON header, then the tensors (huggingface/safetensors, README).

The library's own reader maps the file, which would count as this process's memory.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swarm.errors import ModelError
from swarm.model.files.tensors import CHUNK_ELEMENTS, TensorEntry, TensorFile

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_OTHER_DTYPES = ("F8_E5M2", "F8_E4M3", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64")
_MAX_HEADER = 100_000_000  # bytes, the limit of the library itself


class SafetensorsFile(TensorFile):
    """One .safetensors file. Raises ModelError for a header that is broken or describes more than the file holds."""

    def __init__(self, path: Path):
        super().__init__(path)
        if self.size < 8:
            raise ModelError(f"{path} is not a safetensors file: it has {self.size} bytes")
        length = torch.empty(8, dtype=torch.uint8)
        self.read_bytes(length, 0)
        header_size = int.from_bytes(bytes(length.tolist()), "little")
        if header_size > min(_MAX_HEADER, self.size - 8):
            raise ModelError(f"{path} is truncated or no safetensors file: its header claims {header_size} bytes")
        header = torch.empty(header_size, dtype=torch.uint8)
        self.read_bytes(header, 8)
        self._entries = self._parse(header.numpy().tobytes(), 8 + header_size)

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def _parse(self, header: bytes, data_start: int) -> dict[str, TensorEntry]:
        try:
            items = json.loads(header)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{self.path} is no safetensors file: its header is not JSON ({error})") from error
        if not isinstance(items, dict):
            raise ModelError(f"{self.path} is no safetensors file: its header is not an object")
        return {name: self._entry(name, item, data_start) for name, item in items.items() if name != "__metadata__"}

    def _entry(self, name: str, item: Any, data_start: int) -> TensorEntry:
        match item:
            case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if all(
                isinstance(size, int) and size >= 0 for size in shape
            ):
                pass
            case _:
                raise ModelError(f"{self.path}: the header's entry for {name:.100} is malformed")
        if kind not in _DTYPES and kind not in _OTHER_DTYPES:
            raise ModelError(f"{self.path}: tensor {name:.100} has the unknown dtype {kind:.20}")
        if not 0 <= begin <= end or (kind in _DTYPES and end - begin != math.prod(shape) * _DTYPES[kind].itemsize):
            raise ModelError(
                f"{self.path}: tensor {name:.100} of shape {shape} and {kind} cannot be bytes {begin}:{end}"
            )
        self.check_range(name, data_start + begin, end - begin)
        return TensorEntry(tuple(shape), kind, data_start + begin, end - begin)

    def _read(self, entry: TensorEntry, out: Tensor) -> None:
        if entry.kind not in _DTYPES:
            raise ModelError(f"{self.path}: tensors of type {entry.kind} are not supported as weights")
        dtype = _DTYPES[entry.kind]
        if out.dtype == dtype:
            self.read_bytes(out, entry.offset)
            return
        flat = out.view(-1)
        for start in range(0, flat.shape[0], CHUNK_ELEMENTS):
            part = flat[start : start + CHUNK_ELEMENTS]
            raw = torch.empty(part.shape[0], dtype=dtype)
            self.read_bytes(raw, entry.offset + start * dtype.itemsize)
            part.copy_(raw)
