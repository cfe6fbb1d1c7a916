"""The C interface of blocks.cpp: structures, functions, and matrices packed for them."""

import ctypes
import logging
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from swarm_kernels.cpu.build import Unavailable, build, choose_level, source_hash
from swarm_kernels.memory import Arena
from swarm_kernels.quant import QuantWeight

logger = logging.getLogger(__name__)

ROWS, COLUMNS = 16, 64  # a packed matrix has multiples of these
FORMATS = {"bfloat16": 0, "int8": 1, "int4": 2, "int4-g64": 3, "nf4": 4}
ELEMENTS = {torch.float32: 0, torch.bfloat16: 1}
ACTIVATIONS = {"silu": 0, "swish": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "relu": 2}


class MatrixView(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("bias", c_void_p), ("out", c_int64), ("columns", c_int64)]


class BlockView(ctypes.Structure):
    _fields_ = [
        *((name, MatrixView) for name in ("qkv", "o", "gate_up", "down")),
        *((name, c_void_p) for name in ("attn_norm", "mlp_norm", "q_norm", "k_norm", "keys", "values")),
        ("window", c_int64),
    ]


class RangeView(ctypes.Structure):
    _fields_ = [
        *((name, c_int32) for name in ("format", "cache_type", "activation")),
        ("norm_eps", c_float),
        *((name, c_int64) for name in ("hidden", "heads", "kv_heads", "head_dim", "intermediate", "page_tokens")),
        ("blocks", POINTER(BlockView)),
    ]


class StepView(ctypes.Structure):
    _fields_ = [
        ("rows", c_int64),
        ("element", c_int32),
        *((name, c_void_p) for name in ("input", "output", "positions", "pages", "cos", "sin")),
    ]


@cache
def library() -> ctypes.CDLL:
    """The kernels for this processor. Raises Unavailable, also on every later call."""
    path = build(choose_level())
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:  # the system does not let programs be loaded from there
        raise Unavailable(f"they cannot be loaded: {error}; name another folder with SWARM_KERNEL_CACHE") from error
    _check_sizes(loaded)
    loaded.swarm_forward.argtypes = [POINTER(RangeView), c_int32, c_int32, POINTER(StepView), c_int32]
    loaded.swarm_linear.argtypes = [
        c_int32,
        POINTER(MatrixView),
        c_void_p,
        c_float,
        c_void_p,
        c_void_p,
        c_int64,
        c_int32,
    ]
    loaded.swarm_packed_bytes.argtypes = [c_int32, c_int64, c_int64]
    loaded.swarm_packed_bytes.restype = c_int64
    loaded.swarm_pack.argtypes = [c_int32, c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p]
    return loaded


def _check_sizes(loaded: ctypes.CDLL) -> None:
    """Raises TypeError if blocks.cpp has other structures than this file: then it would read anything."""
    mirrored = (MatrixView, BlockView, RangeView, StepView)
    sizes = (c_int64 * len(mirrored))()
    loaded.swarm_sizes(sizes)
    for view, size in zip(mirrored, sizes, strict=True):
        if ctypes.sizeof(view) != size:
            raise TypeError(f"{view.__name__} has {ctypes.sizeof(view)} bytes, and its structure in blocks.cpp {size}")


@cache
def is_available() -> bool:
    """Whether the kernels work here; where they do not, says why, once."""
    try:
        library()
    except Unavailable as reason:
        logger.warning("the fused CPU kernels are not used, torch computes instead: %s", reason)
        return False
    return True


def kernel_id() -> str:
    """What decides these kernels' bits, but for the format: sources, flags, and the kind of processor."""
    level = choose_level()
    return f"{level}-{source_hash(level)}"


def fits(rows: int, columns: int) -> bool:
    return rows % ROWS == 0 and columns % COLUMNS == 0


class PackedMatrix:
    """A matrix [out, in] in the order of products.h.

    format: a key of FORMATS. Rows are padded with zeros to a multiple of 16 (`rows` of them are real).
    """

    def __init__(self, weight: Tensor | QuantWeight, bias: Tensor | None = None, arena: Arena | None = None):
        """weight: [out, in] float, kept in bfloat16, or quantised. Raises ValueError for columns no multiple of 64."""
        self.rows, columns = weight.shape
        if columns % COLUMNS:
            raise ValueError(f"a matrix of {columns} columns; the kernels need a multiple of {COLUMNS}")
        padding = -self.rows % ROWS
        self.format = weight.format.name if isinstance(weight, QuantWeight) else "bfloat16"
        codes, *scales = (_padded(part, padding) for part in _parts(weight))
        nbytes = library().swarm_packed_bytes(FORMATS[self.format], self.rows + padding, columns)
        self.data = (arena or Arena()).take(nbytes)
        self.bias = None if bias is None else _padded(bias.float(), padding)
        library().swarm_pack(
            FORMATS[self.format], *map(address, (codes, *scales)), columns, 0, (self.rows + padding) // ROWS,
            self.data.data_ptr(),
        )  # fmt: skip
        self.view = MatrixView(self.data.data_ptr(), address(self.bias), self.rows + padding, columns)

    def __call__(self, x: Tensor, threads: int, norm: Tensor | None = None, eps: float = 0.0) -> Tensor:
        """x [n, in] float32 -> [n, out] float32. norm [in] float32: apply an RMSNorm to x first."""
        y = torch.empty(x.shape[0], self.view.out)
        library().swarm_linear(
            FORMATS[self.format], self.view, address(norm), eps, x.data_ptr(), y.data_ptr(), x.shape[0], threads
        )
        return y[:, : self.rows]


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _parts(weight: Tensor | QuantWeight) -> list[Tensor | None]:
    """Codes, scale, minimum."""
    if isinstance(weight, QuantWeight):
        return [weight.codes, weight.scale, weight.minimum]
    return [weight.to(torch.bfloat16), None, None]


def _padded(part: Tensor | None, rows: int) -> Tensor | None:
    if part is None:
        return None
    return (F.pad(part, (*(0, 0) * (part.dim() - 1), 0, rows)) if rows else part).contiguous()
