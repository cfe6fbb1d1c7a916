"""What every kernel computes with: products and sums whose bits depend on neither tile shapes nor warps.

The rules (KV and K are split at fixed places, no atomics) leave three sources of different bits:
- a tensor-core product sums along K in the order of the instruction. Tiles stay below 64 rows of the left operand,
  so that every GPU uses the same family (mma.sync) for all of them; Hopper's wgmma starts at 64 rows;
- `tl.sum` adds in an order that follows the layout of a tile. Here sums are products with ones, or `tree_sum`;
- a multiplication and an addition may be fused. Kernels are launched with enable_fp_fusion=False and say `tl.fma`.
"""

import triton
import triton.language as tl
from triton import knobs

# Whether kernels run on CPU tensors in the interpreter (TRITON_INTERPRET=1 before triton is first imported).
INTERPRETED = bool(knobs.runtime.interpret)

_INTERPRETED = tl.constexpr(INTERPRETED)


@triton.jit
def dot(a: tl.tensor, b: tl.tensor, acc: tl.tensor) -> tl.tensor:
    """acc + a @ b in float32; a [M, K], b [K, N] of one dtype, acc [M, N] float32."""
    if _INTERPRETED:
        # The interpreter would multiply the bits of bfloat16 as integers, and numpy sums in an order that depends on
        # the shape: in float64 that is far below what rounding to float32 leaves.
        wide = tl.dot(a.to(tl.float64), b.to(tl.float64), acc.to(tl.float64), out_dtype=tl.float64)
        return wide.to(tl.float32)
    else:
        return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def cast(x: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """x as another dtype, rounded to nearest even; for tensors that may be bfloat16 before or after."""
    if not _INTERPRETED or dtype != tl.bfloat16:
        return x.to(dtype)
    else:
        # The interpreter would cut bits off instead of rounding, and take an int8 for the bits of a float.
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        return (bits >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.constexpr_function
def _log2(power: tl.constexpr) -> int:
    return power.bit_length() - 1


@triton.jit
def tree_sum(x: tl.tensor, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> tl.tensor:
    """x [ROWS, COLUMNS] -> [COLUMNS], ROWS a power of two: neighbours are added in pairs, then pairs of pairs."""
    for level in tl.static_range(_log2(ROWS)):
        x = tl.sum(tl.reshape(x, [ROWS >> (level + 1), 2, COLUMNS]), axis=1)
    return tl.reshape(x, [COLUMNS])
