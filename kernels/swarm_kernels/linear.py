"""Matrix products with weights that stay: prepared once, applied at every step."""

import torch
import torch.nn.functional as F
from torch import Tensor

from swarm_kernels.quant import QuantWeight

# oneDNN picks its blocking from a row count given when it packs. 64 was best or within noise for all of 1 to 256 rows;
# packed for 1, eight rows take nearly twice as long.
_PACKED_FOR_ROWS = 64

# Its kernels take longer for one or two rows than for four (measured: 33, 40 and 27 ms for 30 blocks of SmolLM2-135M).
_LEAST_ROWS = 4


class Linear:
    """x [tokens, in] -> x @ weight.T (+ bias) (+ residual), with weight [out, in].

    No bits are promised. oneDNN chooses its code by the processor and by the number of rows: in bfloat16, where it has
    AMX, a row comes out differently in another company; and whether the product is rounded before the residual is
    added depends on the processor, too. What rests on equal bits must ask for a numerics id (see dispatch.Backend).

    On a CPU the weight is repacked for oneDNN and the original is not kept: F.linear takes 1.4 (one row, float32) to
    1.9 times as long (eight rows, bfloat16).
    """

    __slots__ = ("_packed", "bias", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        self._packed = _can_pack(weight)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR_ROWS) if self._packed else weight
        self.bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if self._packed:
            return self._packed_product(x, residual)
        product = F.linear(x, self.weight, self.bias)
        return product if residual is None else product.add_(residual)

    def _packed_product(self, x: Tensor, residual: Tensor | None) -> Tensor:
        rows = x.shape[0]
        if rows < _LEAST_ROWS:
            padding = (0, 0, 0, _LEAST_ROWS - rows)
            x = F.pad(x, padding)
            # The sum stays fused: adding afterwards would round once more in bfloat16 than larger batches do.
            residual = None if residual is None else F.pad(residual, padding)
        product: Tensor
        if residual is None:
            product = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        else:
            product = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
        return product[:rows]


class DequantLinear:
    """The same with a quantised weight, restored for every product: little memory, and slow. Where no kernel of ours
    runs, it still works."""

    def __init__(self, weight: QuantWeight, bias: Tensor | None = None):
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = F.linear(x, self._weight.dequantize(x.dtype), self._bias)
        return product if residual is None else product.add_(residual)


def _can_pack(weight: Tensor) -> bool:
    """Whether torch's own packed product (the one its compiler emits, hence the underscore) takes this weight."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
