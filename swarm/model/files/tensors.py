"""What every weight file offers: named tensors, each read by position into memory of its own.

Files are read with preadv, not mapped: mapped pages count as this process's memory as long as they stay cached, and a
server must never hold more than its own tensors.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from swarm.errors import ModelError
from swarm.program import option
from swarm_kernels import Format, QuantWeight, quantize

# Tensors that need conversion pass through a buffer of about this many elements.
CHUNK_ELEMENTS = 1 << 18
READ_BYTES = 1 << 18  # of a tensor that is only hashed


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies: `kind` is the file format's name of its type, `offset` counts from the file's start."""

    shape: tuple[int, ...]
    kind: str
    offset: int
    nbytes: int


class TensorFile(ABC):
    """A weight file whose header has been read and checked; the file is open until the object is collected."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from error
        self.size = os.fstat(self._file.fileno()).st_size

    @property
    def stamp(self) -> tuple[str, int, int, int]:
        """Path, size in bytes, time of the last change in ns, and inode: what tells this file from what it was before
        somebody changed it."""
        status = os.fstat(self._file.fileno())
        return str(self.path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino

    @property
    @abstractmethod
    def entries(self) -> Mapping[str, TensorEntry]: ...

    @abstractmethod
    def _read(self, entry: TensorEntry, out: Tensor) -> None:
        """Fills out, contiguous and of the entry's shape, converting to its dtype."""

    def read_into(self, name: str, out: Tensor) -> None:
        """Fills out, contiguous, with the tensor `name`, converted to out's dtype. Raises ModelError."""
        self.check_shape(name, tuple(out.shape))
        self._read(self.entry(name), out)

    def read_row_into(self, name: str, row: int, out: Tensor) -> None:
        """Fills out [columns] with one row of a matrix, converted to out's dtype."""
        self._read(self._rows(self.entry(name), row, 1), out.unsqueeze(0))

    @staticmethod
    def _rows(matrix: TensorEntry, start: int, count: int) -> TensorEntry:
        """`count` rows of a matrix, from row `start` on."""
        row_bytes = matrix.nbytes // matrix.shape[0]
        shape = (count, *matrix.shape[1:])
        return TensorEntry(shape, matrix.kind, matrix.offset + start * row_bytes, count * row_bytes)

    def read_quantised(self, name: str, format: Format) -> QuantWeight:
        """The matrix `name` in `format`. Raises ModelError, also if its rows do not divide into the format's groups."""
        entry = self.entry(name)
        if entry.shape[-1] % format.group:
            raise ModelError(
                f"{self.path}: rows of {entry.shape[-1]} weights ({name}) do not divide into groups of {format.group}, "
                f"as {format.name} needs; use another {option('quant')}"
            )
        rows, columns = entry.shape
        step, pieces = max(CHUNK_ELEMENTS // columns, 1), []
        for start in range(0, rows, step):  # so that little of it is ever unpacked
            part = self._rows(entry, start, min(step, rows - start))
            out = torch.empty(part.shape)
            self._read(part, out)
            pieces.append(quantize(out, format))
        return QuantWeight.cat(pieces)

    def entry(self, name: str) -> TensorEntry:
        if name not in self.entries:
            raise ModelError(f"{self.path}: tensor {name} is missing")
        return self.entries[name]

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if self.entry(name).shape != shape:
            raise ModelError(f"{self.path}: tensor {name} has shape {self.entry(name).shape}, the config says {shape}")

    def check_range(self, name: str, offset: int, nbytes: int) -> None:
        if offset + nbytes > self.size:
            raise ModelError(
                f"{self.path} is truncated: tensor {name} ends at byte {offset + nbytes} of {self.size}; fetch it again"
            )

    def sample(self, entry: TensorEntry) -> bytes:
        """64 bytes each from the beginning, the middle and the end of a tensor, to tell it from another one."""
        offsets = (0, entry.nbytes // 2, max(entry.nbytes - 64, 0))
        return b"".join(os.pread(self._file.fileno(), min(64, entry.nbytes), entry.offset + o) for o in offsets)

    def raw(self, entry: TensorEntry) -> Iterator[memoryview]:
        """A tensor's bytes as the file holds them, in pieces; each holds only until the next is asked for. Raises
        ModelError."""
        buffer = torch.empty(min(entry.nbytes, READ_BYTES), dtype=torch.uint8)
        for start in range(0, entry.nbytes, READ_BYTES):
            piece = buffer[: entry.nbytes - start]
            self.read_bytes(piece, entry.offset + start)
            yield _view(piece)

    def read_bytes(self, out: Tensor, offset: int) -> None:
        """Fills out, contiguous, with the bytes of the file from offset on."""
        view = _view(out.reshape(-1).view(torch.uint8))
        while view:
            count = os.preadv(self._file.fileno(), [view], offset)
            if count == 0:
                raise ModelError(f"{self.path} ends at byte {offset}, inside a tensor; was it changed meanwhile?")
            view, offset = view[count:], offset + count


def _view(contents: Tensor) -> memoryview:
    """The memory of a tensor of bytes, to read into and from."""
    return contents.numpy().data
