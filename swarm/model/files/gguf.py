"""Reading GGUF, the file format of llama.cpp (ggml/docs/gguf.md, versions 2 and 3, little endian).

gguf.GGUFReader takes two seconds and 160 MB for a vocabulary of 49,000 tokens; here arrays are skipped unless asked
for. The file is untrusted: every count is checked against what is left of it before anything is allocated.
"""

import math
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from gguf.quants import dequantize
from torch import Tensor

from swarm.errors import ModelError
from swarm.model.files.tensors import CHUNK_ELEMENTS, TensorEntry, TensorFile
from swarm_kernels import Format, QuantWeight

_SCALARS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
_VALUE_TYPES = {kind.value: kind for kind in GGUFValueType}
_TENSOR_TYPES = {kind.value: kind for kind in GGMLQuantizationType}
_TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
# GGML types that one of our formats holds as they are: blocks of 32 weights, each with a scale and perhaps a minimum.
_SAME_AS = {"Q8_0": "int8", "Q4_0": "int4", "Q4_1": "int4"}
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4  # of arrays of arrays


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """Stands for an array that was not asked for."""

    length: int


class GGUFFile(TensorFile):
    """A GGUF file; `metadata` maps keys to numbers, strings, lists (those named in `arrays`) or SkippedArray.

    Raises ModelError for a file that is broken, truncated, or of another version.
    """

    def __init__(self, path: Path, arrays: Collection[str] = ()):
        super().__init__(path)
        with path.open("rb", buffering=1 << 16) as stream:
            header = _Header(stream, path, self.size)
            self.metadata: dict[str, Any] = header.metadata(arrays)
            self._entries = self._place(header.tensors(), stream.tell())

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def _place(self, infos: list[tuple[str, tuple[int, ...], int, int]], header_end: int) -> dict[str, TensorEntry]:
        """infos: (name, shape, GGML type, offset from the data's start)"""
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise ModelError(f"{self.path}: general.alignment is {alignment!r:.20}")
        data_start = -(-header_end // alignment) * alignment
        entries = {}
        for name, shape, type_id, offset in infos:
            kind, nbytes = self._extent(name, shape, type_id)
            self.check_range(name, data_start + offset, nbytes)
            entries[name] = TensorEntry(shape, kind, data_start + offset, nbytes)
        return entries

    def _extent(self, name: str, shape: tuple[int, ...], type_id: int) -> tuple[str, int]:
        if type_id not in _TENSOR_TYPES:
            raise ModelError(f"{self.path}: tensor {name} has the unknown GGML type {type_id}")
        kind = _TENSOR_TYPES[type_id]
        block_size, block_bytes = GGML_QUANT_SIZES[kind]
        if shape[-1] % block_size:
            raise ModelError(f"{self.path}: tensor {name} of shape {shape} does not divide into blocks of {block_size}")
        return kind.name, math.prod(shape) // block_size * block_bytes

    def _read(self, entry: TensorEntry, out: Tensor) -> None:
        if entry.kind in _TORCH_DTYPES and out.dtype == _TORCH_DTYPES[entry.kind]:
            self.read_bytes(out, entry.offset)
            return
        row_bytes = entry.nbytes // math.prod(entry.shape[:-1])
        rows = out.view(-1, out.shape[-1])
        step = max(CHUNK_ELEMENTS // rows.shape[1], 1)
        for start in range(0, rows.shape[0], step):
            part = rows[start : start + step]
            raw = torch.empty(part.shape[0], row_bytes, dtype=torch.uint8)
            self.read_bytes(raw, entry.offset + start * row_bytes)
            part.copy_(self._decode(raw, entry.kind))

    def read_quantised(self, name: str, format: Format) -> QuantWeight:
        """Tensors that are in this format already are only rearranged, without another rounding."""
        entry = self.entry(name)
        if _SAME_AS.get(entry.kind) != format.name:
            return super().read_quantised(name, format)
        raw = torch.empty(entry.nbytes, dtype=torch.uint8)
        self.read_bytes(raw, entry.offset)
        return _repack(raw.view(entry.shape[0], entry.shape[1] // 32, -1), entry.kind, format)

    def _decode(self, raw: Tensor, kind: str) -> Tensor:
        """raw [rows, bytes per row] uint8 -> [rows, elements per row]"""
        if kind in _TORCH_DTYPES:
            return raw.view(_TORCH_DTYPES[kind])
        try:
            return torch.from_numpy(dequantize(raw.numpy(), GGMLQuantizationType[kind]))
        except NotImplementedError as error:
            raise ModelError(f"{self.path}: tensors of GGML type {kind} are not supported") from error


def _repack(blocks: Tensor, kind: str, format: Format) -> QuantWeight:
    """blocks [rows, groups, bytes per block] uint8, as ggml-common.h has them: Q8_0 (scale, 32 codes), Q4_0 (scale, 16
    bytes), Q4_1 (scale, minimum, 16 bytes); byte j holds code j in its low and code j + 16 in its high half."""
    scale = blocks[..., :2].contiguous().view(torch.float16).squeeze(-1)
    if kind == "Q8_0":
        # A file may hold -128, which no quantiser writes and the kernels do not expect.
        return QuantWeight(format, blocks[..., 2:].contiguous().view(torch.int8).clamp_(min=-127).flatten(1), scale)
    halves = blocks[..., -16:]
    codes = torch.cat((halves & 15, halves >> 4), dim=-1).flatten(1)
    if kind == "Q4_1":
        return QuantWeight(format, codes, scale, blocks[..., 2:4].contiguous().view(torch.float16).squeeze(-1))
    return QuantWeight(format, codes, scale, scale * -8)  # Q4_0: scale * (code - 8)


class _Header:
    """The part of a GGUF file before the tensors, read in order: first `metadata`, then `tensors`."""

    def __init__(self, stream: BinaryIO, path: Path, size: int):
        self._stream = stream
        self._path = path
        self._size = size
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file")
        version = self._number("I")
        if version not in (2, 3):
            raise ModelError(f"{path}: GGUF version {version} is not supported, only 2 and 3 (little endian)")
        # Smallest possible entries: an empty name, a type and a byte; an empty name, one dimension, a type, an offset.
        self._num_tensors = self._count("tensors", entry_bytes=32)
        self._num_keys = self._count("keys", entry_bytes=13)

    def metadata(self, arrays: Collection[str]) -> dict[str, Any]:
        values = {}
        for _ in range(self._num_keys):
            key = self._string()
            values[key] = self._value(self._type(), keep=key in arrays, depth=0)
        return values

    def tensors(self) -> list[tuple[str, tuple[int, ...], int, int]]:
        return [self._tensor() for _ in range(self._num_tensors)]

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = self._number("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise ModelError(f"{self._path}: tensor {name:.100} has {dimensions} dimensions")
        sizes = [self._number("Q") for _ in range(dimensions)]
        if not all(1 <= size <= self._size * 8 for size in sizes):
            raise ModelError(f"{self._path}: tensor {name:.100} has the absurd shape {sizes}")
        # GGML counts dimensions from the fastest one.
        return name, tuple(reversed(sizes)), self._number("I"), self._number("Q")

    def _value(self, kind: GGUFValueType, keep: bool, depth: int) -> Any:
        if kind == GGUFValueType.STRING:
            return self._string()
        if kind == GGUFValueType.ARRAY:
            return self._array(keep, depth + 1)
        return self._number(_SCALARS[kind])

    def _array(self, keep: bool, depth: int) -> list[Any] | SkippedArray:
        if depth > _MAX_DEPTH:
            raise ModelError(f"{self._path}: arrays are nested deeper than {_MAX_DEPTH}")
        kind = self._type()
        width = struct.calcsize(_SCALARS[kind]) if kind in _SCALARS else 8  # a string or an array has a length at least
        length = self._count("array elements", entry_bytes=width)
        if keep:
            return self._strings(length) if kind == GGUFValueType.STRING else self._values(kind, length, depth)
        if kind in _SCALARS:
            self._stream.seek(length * width, 1)
        elif kind == GGUFValueType.STRING:
            self._skip_strings(length)
        else:
            for _ in range(length):
                self._array(keep, depth + 1)
        return SkippedArray(length)

    def _values(self, kind: GGUFValueType, length: int, depth: int) -> list[Any]:
        if kind not in _SCALARS:
            return [self._value(kind, True, depth) for _ in range(length)]
        values = struct.Struct(f"<{length}{_SCALARS[kind]}")
        return list(values.unpack(self._bytes(values.size)))

    def _strings(self, length: int) -> list[str]:
        # Hundreds of thousands of times for a large vocabulary, so these loops do without calls of our own.
        read, unpack, strings = self._stream.read, struct.Struct("<Q").unpack, []
        for _ in range(length):
            field = read(8)
            if len(field) < 8:
                raise self._truncated()
            (nbytes,) = unpack(field)
            if nbytes > self._size:
                raise ModelError(f"{self._path}: a string claims {nbytes} bytes")
            data = read(nbytes)
            if len(data) < nbytes:
                raise self._truncated()
            strings.append(data.decode("utf-8", errors="replace"))
        return strings

    def _skip_strings(self, length: int) -> None:
        # A length that leads past the end shows at the next read, which then comes up short.
        read, seek, unpack = self._stream.read, self._stream.seek, struct.Struct("<Q").unpack
        for _ in range(length):
            field = read(8)
            if len(field) < 8:
                raise self._truncated()
            (nbytes,) = unpack(field)
            if nbytes > self._size:
                raise ModelError(f"{self._path}: a string claims {nbytes} bytes")
            seek(nbytes, 1)

    def _string(self) -> str:
        return self._bytes(self._count("bytes of a string", entry_bytes=1)).decode("utf-8", errors="replace")

    def _type(self) -> GGUFValueType:
        type_id = self._number("I")
        if type_id not in _VALUE_TYPES:
            raise ModelError(f"{self._path}: unknown GGUF value type {type_id}")
        return _VALUE_TYPES[type_id]

    def _count(self, what: str, entry_bytes: int) -> int:
        """A count of things of at least entry_bytes each, which must fit into the rest of the file."""
        count: int = self._number("Q")
        if count * entry_bytes > self._size - self._stream.tell():
            raise ModelError(f"{self._path} is truncated or broken: it claims {count} {what}")
        return count

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._bytes(struct.calcsize("<" + code)))[0]

    def _bytes(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise self._truncated()
        return data

    def _truncated(self) -> ModelError:
        return ModelError(f"{self._path} is truncated: it ends inside its header; fetch it again")
