"""A few numbers per token that commit a hop to its result, so that it can be audited without shipping whole tensors.

A hop projects what it *added* (output minus input) on K random directions that its own signed roots choose (Fiat and
Shamir, 1986): known only once the result is fixed, and to everybody. Norms survive random projections (Johnson and
Lindenstrauss, 1984; with +-1 entries: Achlioptas, 2003), so an auditor who recomputes the result learns from the
sketch how far the hop's lay from it.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from swarm.errors import InvalidRequest

K = 8  # projections per token: 1 KiB for a chunk of 32; with 4, benchmarks/verification.py finds honest peers suspect
ROWS = 32  # that share their directions

_DOMAIN = b"swarm/sketch/1"


class Sketch(NamedTuple):
    """values: [count, K] float32, of one receipt; inputs_root, outputs_root: the 32-byte roots which that signs."""

    values: Tensor
    inputs_root: bytes
    outputs_root: bytes


def sketch_seed(inputs_root: bytes, outputs_root: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(_DOMAIN + inputs_root + outputs_root).digest()


def projections(seed: bytes, hidden_size: int, k: int = K) -> Tensor:
    """[hidden_size, k] float32 of +1 and -1, the bits of SHAKE-256 over `seed`."""
    count = hidden_size * k
    stream = np.frombuffer(hashlib.shake_256(seed).digest(-(-count // 8)), dtype=np.uint8)
    bits = np.unpackbits(stream, count=count).astype(np.float32)
    return torch.from_numpy(2 * bits - 1).view(hidden_size, k)


def project(rows: Tensor, seed: bytes, k: int = K) -> Tensor:
    """rows [count, hidden_size] of one receipt -> [count, k] float32. Every ROWS rows have directions of their own:
    errors of neighbours look alike, and would otherwise all be over- or underrated together."""
    pieces: tuple[Tensor, ...] = rows.float().split(ROWS)
    seeds = (seed + index.to_bytes(4, "little") for index in range(len(pieces)))
    return torch.cat([piece @ projections(own, rows.shape[1], k) for piece, own in zip(pieces, seeds, strict=True)])


def sketch(x: Tensor, y: Tensor, inputs_root: bytes, outputs_root: bytes) -> Tensor:
    """x, y [count, hidden_size]: a receipt's inputs and outputs as they are on the wire -> [count, K] float32."""
    return project(y.float() - x.float(), sketch_seed(inputs_root, outputs_root))


def sketch_bytes(values: Tensor) -> bytes:
    """[count, K] float32 as little-endian bytes, row after row; their SHA-256 is in the receipt."""
    return values.numpy().astype("<f4", copy=False).tobytes()


def parse_sketch(data: bytes, count: int) -> Tensor:
    """The other way, [count, K]. Raises InvalidRequest for another length; NaN and infinity are left to the audit."""
    expected = 4 * count * K
    if len(data) != expected:
        raise InvalidRequest(f"the sketch of {count} tokens is {expected} bytes, not {len(data)}")
    return torch.from_numpy(np.frombuffer(data, dtype="<f4").astype(np.float32)).view(count, K)
