"""Products with weights in bitsandbytes' own formats, computed by bitsandbytes' own layers.

The yardstick for our formats, and for whoever needs exactly what bitsandbytes gives: NF4 (QLoRA, Dettmers et al.,
2023) and LLM.int8 (Dettmers et al., 2022). Importing it takes seconds, so only those who ask for it do.
"""

import torch
from bitsandbytes import nn
from torch import Tensor


class BnbLinear:
    """x [tokens, in] -> x @ weight.T (+ bias) (+ residual), with weight [out, in] quantised by bitsandbytes."""

    def __init__(self, format: str, weight: Tensor, bias: Tensor | None = None):
        """format: "bnb-nf4" or "bnb-int8"."""
        out, columns = weight.shape
        if format == "bnb-nf4":
            layer: torch.nn.Linear = nn.Linear4bit(
                columns, out, bias is not None, compute_dtype=weight.dtype, quant_type="nf4"
            )
            layer.weight = nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
        else:
            layer = nn.Linear8bitLt(columns, out, bias is not None, has_fp16_weights=False, threshold=6.0)
            layer.weight = nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        if bias is not None:
            layer.bias = torch.nn.Parameter(bias, requires_grad=False)
        self._layer = layer.to(weight.device)  # this is what quantises

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product: Tensor = self._layer(x)
        return product if residual is None else product + residual
