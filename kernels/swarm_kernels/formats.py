"""What weights can be kept in: names and sizes, without torch, for command lines and configs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """How a row of weights is stored: `group` consecutive ones share a scale (and a minimum)."""

    name: str  # as --quant and the directory have it
    bits: int
    group: int
    kind: str  # "symmetric": scale * code; "affine": scale * code + minimum; "codebook": scale * NF4_LEVELS[code]

    @property
    def bits_per_weight(self) -> float:
        """Scales included."""
        return self.bits + (16 if self.kind == "symmetric" else 32) / self.group


# int8 and int4 have the groups of GGUF's Q8_0, Q4_0 and Q4_1, whose tensors they hold without another rounding; nf4 is
# that of bitsandbytes.
FORMATS = {
    format.name: format
    for format in (
        Format("int8", 8, 32, "symmetric"),
        Format("int4", 4, 32, "affine"),
        Format("int4-g64", 4, 64, "affine"),
        Format("nf4", 4, 64, "codebook"),
    )
}

BNB_FORMATS = ("bnb-nf4", "bnb-int8")
QUANTS = ("none", *FORMATS, *BNB_FORMATS)  # what --quant takes
