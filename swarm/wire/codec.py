"""Tensors as bytes, and the digests by which every hop names what it received and sent.

A tensor travels as raw little-endian row-major bytes with its dtype and shape. Each of its rows, one position's
activations, has a digest of its own, and the tensor's is made of them: how positions are cut into messages differs from
hop to hop (a prompt's chunk is computed in slices, a journal is sent again in larger ones), while a row stays the same
bytes with the same digest all the way. Receipts are made of rows' digests.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb
from swarm.wire.dtypes import DTYPE_NAMES

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}
_TO_WIRE = {torch.float32: pb.FLOAT32, torch.bfloat16: pb.BFLOAT16, torch.float16: pb.FLOAT16}
_FROM_WIRE: dict[int, torch.dtype] = {wire: dtype for dtype, wire in _TO_WIRE.items()}
_ITEM_BYTES = {wire: dtype.itemsize for wire, dtype in _FROM_WIRE.items()}


def wire_dtype(dtype: torch.dtype) -> pb.DType:
    """The wire's number for `dtype`. Raises InvalidRequest for a dtype that does not travel."""
    if dtype not in _TO_WIRE:
        raise InvalidRequest(f"{dtype} does not travel between peers; use one of {', '.join(DTYPES)}")
    return _TO_WIRE[dtype]


def torch_dtype(number: int) -> torch.dtype:
    """The torch dtype of a wire number. Raises InvalidRequest for an unknown one."""
    if number not in _FROM_WIRE:
        raise InvalidRequest(f"unknown tensor dtype number {number}; use one of {', '.join(DTYPES)}")
    return _FROM_WIRE[number]


@dataclass(frozen=True, slots=True)
class Rows:
    """A matrix as it travels, with the digest of every row."""

    dtype: pb.DType
    columns: int
    data: bytes  # row-major, little-endian
    digests: Sequence[bytes]

    @classmethod
    def of(cls, dtype: pb.DType, columns: int, data: bytes) -> "Rows":
        """data: whole rows."""
        return cls(dtype, columns, data, row_digests(dtype, columns, data))

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, rows: slice) -> "Rows":
        """Consecutive rows of these."""
        start, stop, _ = rows.indices(len(self))
        row_bytes = self.columns * _FROM_WIRE[self.dtype].itemsize
        return Rows(self.dtype, self.columns, self.data[start * row_bytes : stop * row_bytes], self.digests[start:stop])

    @classmethod
    def join(cls, parts: "Sequence[Rows]") -> "Rows":
        """The rows of all of `parts`, at least one, which are of one dtype and width."""
        if len(parts) == 1:
            return parts[0]
        data = b"".join(part.data for part in parts)
        digests = [digest for part in parts for digest in part.digests]
        return cls(parts[0].dtype, parts[0].columns, data, digests)

    def message(self) -> pb.Tensor:
        shape = (len(self.digests), self.columns)
        return pb.Tensor(dtype=self.dtype, shape=shape, data=self.data, digest=tensor_digest(self.digests))

    def tensor(self) -> torch.Tensor:
        """[rows, columns] in the dtype that travels, in memory of its own."""
        flat = torch.frombuffer(bytearray(self.data), dtype=_FROM_WIRE[self.dtype])  # torch wants to be able to write
        return flat.view(len(self.digests), self.columns)


def to_rows(tensor: torch.Tensor, dtype: torch.dtype) -> Rows:
    """`tensor` [rows, columns], on any device, as it travels in `dtype`."""
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        tensor = tensor.to(device="cpu", dtype=dtype)
    if dtype == torch.bfloat16:  # numpy does not know it, but only the bytes matter here
        data = tensor.view(torch.int16).numpy().tobytes()
    else:
        data = tensor.numpy().tobytes()
    wire, columns = wire_dtype(dtype), tensor.shape[1]
    return Rows(wire, columns, data, row_digests(wire, columns, data))


def read_rows(message: pb.Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Rows:
    """What is in `message`, which must have exactly this shape and dtype and match its digest.

    Raises InvalidRequest on any disagreement, before a byte of it is interpreted.
    """
    if _FROM_WIRE.get(message.dtype) != dtype:
        raise InvalidRequest(f"wrong dtype: expected {dtype}, got {torch_dtype(message.dtype)}")
    if tuple(message.shape) != shape:
        raise InvalidRequest(f"wrong shape: expected {list(shape)}, got {list(message.shape)}")
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(message.data) != expected:
        raise InvalidRequest(f"wrong length: {list(shape)} of {dtype} is {expected} bytes, got {len(message.data)}")
    digests = row_digests(message.dtype, shape[1], message.data)
    if tensor_digest(digests) != message.digest:
        raise InvalidRequest("wrong digest: the tensor's bytes are not the ones that were announced; send them again")
    return Rows(message.dtype, shape[1], message.data, digests)


def encode(tensor: torch.Tensor, dtype: torch.dtype) -> pb.Tensor:
    """`tensor` [rows, columns], on any device, as a message in `dtype`."""
    return to_rows(tensor, dtype).message()


def decode(message: pb.Tensor, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """The tensor in `message`; see `read_rows`."""
    return read_rows(message, shape, dtype).tensor()


def row_digests(dtype: int, columns: int, data: bytes) -> list[bytes]:
    """SHA-256 of every row of `data`: over a header (domain, dtype, columns) and the row's bytes.

    dtype: a pb.DType. Raises InvalidRequest if `data` does not consist of whole rows.
    """
    row_bytes = columns * (_ITEM_BYTES.get(dtype) or torch_dtype(dtype).itemsize)
    if len(data) % row_bytes:
        raise InvalidRequest(f"{len(data)} bytes are not whole rows of {row_bytes}")
    begun, view, digests = _row_hasher(dtype, columns), memoryview(data), []
    for offset in range(0, len(data), row_bytes):
        hasher = begun.copy()
        hasher.update(view[offset : offset + row_bytes])
        digests.append(hasher.digest())
    return digests


def tensor_digest(rows: Sequence[bytes]) -> bytes:
    """SHA-256 over the digests of a tensor's rows, which name dtype and shape."""
    return hashlib.sha256(b"swarm/t2" + b"".join(rows)).digest()


@cache
def _row_hasher(dtype: int, columns: int) -> "hashlib._Hash":
    return hashlib.sha256(struct.pack("<8sII", b"swarm/r1", dtype, columns))
