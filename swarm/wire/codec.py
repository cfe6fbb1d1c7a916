"""Tensors as bytes, and the digest by which every hop names what it received and sent.

A tensor travels as raw little-endian row-major bytes with its dtype and shape. The digest covers all three: the same
bytes under another shape are another tensor.
"""

import hashlib
import struct

import torch

from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TO_WIRE = {torch.float32: pb.FLOAT32, torch.bfloat16: pb.BFLOAT16, torch.float16: pb.FLOAT16}
_FROM_WIRE = {wire: dtype for dtype, wire in _TO_WIRE.items()}


def wire_dtype(dtype: torch.dtype) -> int:
    """The wire's number for `dtype`. Raises InvalidRequest for a dtype that does not travel."""
    if dtype not in _TO_WIRE:
        raise InvalidRequest(f"{dtype} does not travel between peers; use one of {', '.join(DTYPES)}")
    return _TO_WIRE[dtype]


def torch_dtype(number: int) -> torch.dtype:
    """The torch dtype of a wire number. Raises InvalidRequest for an unknown one."""
    if number not in _FROM_WIRE:
        raise InvalidRequest(f"unknown tensor dtype number {number}; use one of {', '.join(DTYPES)}")
    return _FROM_WIRE[number]


def encode(tensor: torch.Tensor, dtype: torch.dtype) -> pb.Tensor:
    """`tensor` (any shape, any device) as a message in `dtype`, with its digest."""
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        tensor = tensor.to(device="cpu", dtype=dtype)
    if dtype == torch.bfloat16:  # numpy does not know it, but only the bytes matter here
        data = tensor.view(torch.int16).numpy().tobytes()
    else:
        data = tensor.numpy().tobytes()
    number, shape = wire_dtype(dtype), list(tensor.shape)
    return pb.Tensor(dtype=number, shape=shape, data=data, digest=digest(number, shape, data))


def decode(message: pb.Tensor, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """The tensor in `message`, which must have exactly this shape and dtype and match its digest.

    Raises InvalidRequest on any disagreement, before a byte of it is interpreted.
    """
    if torch_dtype(message.dtype) != dtype:
        raise InvalidRequest(f"wrong dtype: expected {dtype}, got {torch_dtype(message.dtype)}")
    if tuple(message.shape) != shape:
        raise InvalidRequest(f"wrong shape: expected {list(shape)}, got {list(message.shape)}")
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(message.data) != expected:
        raise InvalidRequest(f"wrong length: {list(shape)} of {dtype} is {expected} bytes, got {len(message.data)}")
    if digest(message.dtype, message.shape, message.data) != message.digest:
        raise InvalidRequest("wrong digest: the tensor's bytes are not the ones that were announced; send them again")
    return torch.frombuffer(bytearray(message.data), dtype=dtype).view(shape)  # torch wants memory it may write


def digest(dtype: int, shape: list[int], data: bytes) -> bytes:
    """SHA-256 over a tensor's wire header (domain, dtype, rank, dimensions as u32) and its bytes."""
    header = struct.pack(f"<8sII{len(shape)}I", b"swarm/t1", dtype, len(shape), *shape)
    hasher = hashlib.sha256(header)
    hasher.update(data)
    return hasher.digest()
