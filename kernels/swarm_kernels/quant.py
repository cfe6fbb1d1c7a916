"""Weight formats: a matrix as small integers in groups along each row, and the way there and back.

What is here is independent of any processor; each backend packs a `QuantWeight` into the order its kernels read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm_kernels.formats import Format

# Quantiles of a normal distribution, scaled to [-1, 1] with an exact zero (QLoRA, Dettmers et al. 2023, appendix E).
NF4_LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)

# Shrunken ranges tried for every group of an asymmetric int4 matrix: cutting off its extremes costs less than
# spreading all other levels. Nine tries take off a tenth of the squared error that min to max leaves.
_SHRINK = tuple(1.0 - 0.03 * step for step in range(9))


@dataclass(frozen=True, slots=True, eq=False)
class QuantWeight:
    """A quantised matrix [out, in].

    codes:   [out, in], int8 in -127..127 for a symmetric format, else uint8 in 0..15
    scale:   [out, in / group], float16; for a codebook float32, each group's largest magnitude
    minimum: [out, in / group] float16, for an affine format only
    """

    format: Format
    codes: Tensor
    scale: Tensor
    minimum: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape

    @classmethod
    def cat(cls, pieces: Sequence["QuantWeight"]) -> "QuantWeight":
        """Matrices of one format, one below the other."""
        minima = [piece.minimum for piece in pieces if piece.minimum is not None]
        codes, scale = torch.cat([piece.codes for piece in pieces]), torch.cat([piece.scale for piece in pieces])
        return cls(pieces[0].format, codes, scale, torch.cat(minima) if minima else None)

    def to(self, device: torch.device | str) -> "QuantWeight":
        minimum = None if self.minimum is None else self.minimum.to(device)
        return QuantWeight(self.format, self.codes.to(device), self.scale.to(device), minimum)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """[out, in], exact in float32 and rounded once from there."""
        groups = self.codes.unflatten(-1, (-1, self.format.group))
        scale = self.scale.float().unsqueeze(-1)
        if self.format.kind == "codebook":
            values = _nf4_levels(self.codes.device)[groups.long()] * scale
        else:
            values = groups.float() * scale
        if self.minimum is not None:
            values += self.minimum.float().unsqueeze(-1)
        return values.flatten(-2).to(dtype)


def fits(columns: int, format: Format) -> bool:
    """Whether rows of `columns` weights divide into the format's groups."""
    return columns % format.group == 0


def quantize(weight: Tensor, format: Format) -> QuantWeight:
    """weight [out, in], any float dtype. Raises ValueError if a row does not divide into groups."""
    if not fits(weight.shape[-1], format):
        raise ValueError(f"rows of {weight.shape[-1]} weights do not divide into groups of {format.group}")
    groups = weight.float().unflatten(-1, (-1, format.group))
    return {"symmetric": _symmetric, "affine": _affine, "codebook": _codebook}[format.kind](groups, format)


def _symmetric(groups: Tensor, format: Format) -> QuantWeight:
    largest = 2 ** (format.bits - 1) - 1
    scale = _half(groups.abs().amax(-1) / largest)
    codes = (groups / _divisor(scale)).round_().clamp_(-largest, largest)
    return QuantWeight(format, codes.to(torch.int8).flatten(-2), scale)


def _affine(groups: Tensor, format: Format) -> QuantWeight:
    """Of several ranges inside each group's own, the one with the least squared error."""
    levels = 2**format.bits - 1
    low, high = groups.amin(-1), groups.amax(-1)
    centre, width = (low + high) / 2, high - low
    best_error = torch.full_like(low, torch.inf)
    codes = torch.zeros_like(groups, dtype=torch.uint8)
    scale, minimum = torch.zeros_like(low).half(), torch.zeros_like(low).half()
    for shrink in _SHRINK:
        step, start = _half(width * shrink / levels), _half(centre - width * shrink / 2)
        tried = (groups - start.float().unsqueeze(-1)).div_(_divisor(step)).round_().clamp_(0, levels)
        restored = torch.addcmul(start.float().unsqueeze(-1), tried, step.float().unsqueeze(-1))
        error = restored.sub_(groups).square_().sum(-1)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        codes = torch.where(better.unsqueeze(-1), tried.to(torch.uint8), codes)
        scale, minimum = torch.where(better, step, scale), torch.where(better, start, minimum)
    return QuantWeight(format, codes.flatten(-2), scale, minimum)


def _codebook(groups: Tensor, format: Format) -> QuantWeight:
    scale = groups.abs().amax(-1)
    levels = _nf4_levels(groups.device)
    boundaries = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(groups / _divisor(scale), boundaries)
    return QuantWeight(format, codes.to(torch.uint8).flatten(-2), scale)


def _nf4_levels(device: torch.device) -> Tensor:
    return torch.tensor(NF4_LEVELS, dtype=torch.float32, device=device)


def _half(values: Tensor) -> Tensor:
    """Rounded to float16, in its range."""
    return values.clamp(-65504, 65504).half()


def _divisor(scale: Tensor) -> Tensor:
    """[..., groups] -> [..., groups, 1] float32, with 1 for the scale 0 of a group of zeros."""
    scale = scale.float().unsqueeze(-1)
    return torch.where(scale == 0, 1.0, scale)
