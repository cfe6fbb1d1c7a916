"""Weights in the order the GPU kernels read them: panels of a fixed number of columns, one after the other.

What a program reads in one step, some rows of one panel, is contiguous: every load is 128 bits wide and coalesced.
Panels also fix the order in which a product is summed.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from swarm_kernels.quant import NF4_LEVELS, QuantWeight

# Rows are padded with zeros to a multiple of this, so that no load of a weight needs a mask.
_ROW_MULTIPLE = 64

_DENSE_BYTES = 128  # of a row in a panel
_QUANT_COLUMNS = 128  # likewise; of four bits, 64 bytes

_KINDS = {"symmetric": "int8", "affine": "int4", "codebook": "nf4"}


@dataclass(frozen=True, slots=True, eq=False)
class PackedWeight:
    """A matrix [rows, columns] and its bias, packed for the product kernels.

    codes:  [panels, padded rows, width]. bfloat16 and float16: width 64; float32: 32; int8: 128. Of four bits, uint8
            of width 64: columns j and 64 + j of the panel in the low and high half of byte j
    scale:  [panels, halves, padded rows, groups]: of the panel (int8) or of the low and of the high half bytes.
            int8: float16; nf4: float32; int4: int32, a float16 scale in the lower and a minimum in the upper half
    bias:   [rows] in the dtype of the activations
    levels: [16] float32, what the codes of nf4 stand for
    """

    kind: str  # "dense", "int8", "int4" or "nf4"
    rows: int
    columns: int
    group: int  # columns that share a scale; 0 for a dense matrix
    codes: Tensor
    scale: Tensor | None = None
    bias: Tensor | None = None
    levels: Tensor | None = None

    @property
    def padded_rows(self) -> int:
        return self.codes.shape[1]


def pack(
    weight: Tensor | QuantWeight, bias: Tensor | None = None, device: torch.device | str | None = None
) -> PackedWeight:
    """weight [rows, columns], a float matrix or a QuantWeight. What is packed goes to `device`, by default its own."""
    rows, columns = weight.shape
    if isinstance(weight, QuantWeight):
        return _pack_quant(weight, bias, weight.codes.device if device is None else device)
    codes = _panels(weight, _DENSE_BYTES // weight.element_size())
    device = weight.device if device is None else device
    return PackedWeight("dense", rows, columns, 0, codes.to(device), bias=None if bias is None else bias.to(device))


def unpack(packed: PackedWeight) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The codes (or floats) [rows, columns], and scale and minimum [rows, columns / group], as they were packed."""
    codes = packed.codes
    if packed.kind in ("int4", "nf4"):
        codes = torch.cat((codes & 15, codes >> 4), dim=-1)
    codes = codes.transpose(0, 1).flatten(1)[: packed.rows, : packed.columns]
    if packed.scale is None:
        return codes, None, None
    scale = packed.scale.permute(2, 0, 1, 3).flatten(1)[: packed.rows, : packed.columns // packed.group]
    if packed.kind != "int4":
        return codes, scale, None
    scale, minimum = scale.unsqueeze(-1).view(torch.float16).unbind(-1)
    return codes, scale, minimum


def split_rows(weight: Tensor | QuantWeight, parts: int) -> list[Tensor | QuantWeight]:
    """weight [rows, columns] -> `parts` matrices of consecutive rows: gate and up of a fused gate_up."""
    if isinstance(weight, Tensor):
        return list(weight.chunk(parts))
    minima = [None] * parts if weight.minimum is None else weight.minimum.chunk(parts)
    columns = zip(weight.codes.chunk(parts), weight.scale.chunk(parts), minima, strict=True)
    return [QuantWeight(weight.format, *tensors) for tensors in columns]


def _pack_quant(weight: QuantWeight, bias: Tensor | None, device: torch.device | str) -> PackedWeight:
    format, codes, scale = weight.format, weight.codes, weight.scale
    if weight.minimum is not None:
        scale = torch.stack((scale, weight.minimum), dim=-1).view(torch.int32).squeeze(-1)
    codes = _panels(codes, _QUANT_COLUMNS)
    scale = _panels(scale, _QUANT_COLUMNS // format.group).unsqueeze(1)
    if format.bits == 4:
        low, high = codes.chunk(2, dim=-1)
        codes = low | high << 4
        scale = torch.cat(scale.chunk(2, dim=-1), dim=1).contiguous()
    levels = torch.tensor(NF4_LEVELS, device=device) if format.kind == "codebook" else None
    rows, columns = weight.shape
    return PackedWeight(
        _KINDS[format.kind], rows, columns, format.group, codes.to(device), scale.to(device),
        None if bias is None else bias.to(device), levels,
    )  # fmt: skip


def _panels(matrix: Tensor, width: int) -> Tensor:
    """[rows, columns] -> [panels, padded rows, width], padded with zeros."""
    rows, columns = matrix.shape
    padded = F.pad(matrix, (0, -columns % width, 0, -rows % _ROW_MULTIPLE))
    return torch.unflatten(padded, 1, (-1, width)).transpose(0, 1).contiguous()
