"""What an honest peer would have computed: an auditor's own run through the audited blocks.

Three results of the same inputs. `exact` is the announced format on this machine's kernels. `reference` is float32
arithmetic on the announced weights: rounded or quantised as announced, then taken as they are. `noise` tells how far
honest peers stray from that: a run that rounds wherever an implementation of the format may round.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from swarm.errors import InvalidRequest
from swarm.model import BlockRange, Checkpoint
from swarm_kernels import BNB_FORMATS, QUANTS, Backend, Linear, Product, QuantWeight, Segment, TorchBackend

_PIECE = 256  # tokens that go through the blocks together
_PAGE = 256

_CPU = torch.device("cpu")


class Reexecutor:
    """Recomputes blocks start to stop - 1 in the format that a peer announced, on this machine's CPU.

    Weights are loaded when first needed, for each of the three results apart.
    """

    def __init__(self, checkpoint: Checkpoint, start: int, stop: int, quant: str, dtype: torch.dtype, threads: int = 1):
        """quant: one of swarm_kernels.QUANTS. dtype: float32 or bfloat16, of activations, cache, and weights that are
        not quantised. threads: for the fused kernels.

        Raises InvalidRequest for a format that cannot be audited.
        """
        if quant not in QUANTS or dtype not in (torch.float32, torch.bfloat16):
            raise InvalidRequest(f"{quant!r:.40} with {dtype} is no format that peers serve")
        if quant in BNB_FORMATS:
            raise InvalidRequest(f"peers that serve {quant} cannot be audited: how it rounds is up to bitsandbytes")
        self._checkpoint, self._start, self._stop = checkpoint, start, stop
        self._quant, self._dtype, self._threads = quant, dtype, threads

    @property
    def numerics_id(self) -> str:
        """Of `exact`: peers with the same give the same bits. Empty where this machine's kernels promise none."""
        return self._announced.numerics_id

    def exact(self, x: Tensor) -> Tensor:
        """x [tokens, hidden_size] of positions 0 on, any float dtype -> what the blocks make of it, in `dtype`."""
        return prefill(self._announced, x.to(self._dtype))

    def reference(self, x: Tensor) -> Tensor:
        """The same in float32 arithmetic, from x as the announced dtype holds it; [tokens, hidden_size] float32."""
        return prefill(self._true, x.to(self._dtype).float())

    def noise(self, x: Tensor) -> Tensor:
        """The same with an honest implementation's rounding, in `dtype`.

        Unquantised float32 has none to speak of: the reference itself. (What an audit allows it is in audit.py.)
        """
        if self._quant == "none" and self._dtype == torch.float32:
            return self.reference(x)
        return prefill(self._rounded, x.to(self._dtype))

    @cached_property
    def _announced(self) -> BlockRange:
        return self._load(None)

    @cached_property
    def _true(self) -> BlockRange:
        return self._load(_Float32Backend())

    @cached_property
    def _rounded(self) -> BlockRange:
        return self._load(_RoundingBackend(self._dtype))

    def _load(self, backend: Backend | None) -> BlockRange:
        return BlockRange.load(
            self._checkpoint,
            self._start,
            self._stop,
            self._dtype,
            quant=self._quant,
            threads=self._threads,
            backend=backend,
        )


@torch.inference_mode()
def prefill(
    blocks: BlockRange,
    hidden: Tensor,
    pieces: int | Sequence[int] = _PIECE,
    sessions: int = 1,
    stop: int | None = None,
) -> Tensor:
    """hidden [tokens, hidden_size] of positions 0 on, through `blocks`, with a cache of this call's own.

    pieces: how many tokens go through together, each time or time by time. sessions: as many do the same side by side,
    of which one is returned. stop: the first block not to compute.
    """
    config, length = blocks.config, -(-len(hidden) // _PAGE)
    shape = (sessions * length, _PAGE, config.num_kv_heads, config.head_dim)
    cache = [(hidden.new_zeros(shape), hidden.new_zeros(shape)) for _ in range(blocks.start, blocks.stop)]
    tables = [range(session * length, (session + 1) * length) for session in range(sessions)]
    rows, start = [], 0
    for piece in hidden.split(pieces if isinstance(pieces, int) else list(pieces)):
        batch = blocks.layout([Segment(table, start, len(piece)) for table in tables], _PAGE)
        rows.append(blocks.forward(piece.repeat(sessions, 1), batch, cache, stop=stop)[: len(piece)])
        start += len(piece)
    return torch.cat(rows)


class _Float32Backend(TorchBackend):
    """float32 arithmetic on weights of any format."""

    def __init__(self) -> None:
        super().__init__("none", torch.float32, _CPU)

    def _product(self, weight: Tensor | QuantWeight, bias: Tensor | None) -> Linear:
        exact = weight.dequantize() if isinstance(weight, QuantWeight) else weight.float()
        return Linear(exact, bias)


class _RoundingBackend(TorchBackend):
    """Every rounding that an honest implementation may do, all of them done."""

    def __init__(self, dtype: torch.dtype):
        super().__init__("none", dtype, _CPU)

    def _product(self, weight: Tensor | QuantWeight, bias: Tensor | None) -> Product:
        if isinstance(weight, QuantWeight):
            return _QuantisedProduct(weight, bias, self._dtype)
        return _RoundedProduct(weight, bias)


class _RoundedProduct:
    """The product rounded before the residual is added, on every processor: some kernels round but their sum, and an
    auditor that did so where its processor does would measure others with a finer yardstick there than elsewhere."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self._product = Linear(weight, bias)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = self._product(x)
        return product if residual is None else product + residual


class _QuantisedProduct:
    """A product with quantised weights the way integer kernels compute it: activations become int8, too, in the same
    groups, and NF4's levels multiples of 1/127."""

    def __init__(self, weight: QuantWeight, bias: Tensor | None, dtype: torch.dtype):
        self._group = weight.format.group
        values = weight.dequantize()
        if weight.format.kind == "codebook":
            step = weight.scale.repeat_interleave(self._group, 1) / 127
            values = (values / step.clamp(min=1e-30)).round_().mul_(step)
        self._product = _RoundedProduct(values.to(dtype), bias)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        groups = x.float().unflatten(-1, (-1, self._group))
        step = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
        return self._product((groups / step).round_().mul_(step).flatten(-2).to(x.dtype), residual)
