"""Which code computes a range of blocks: by format, dtype, and what this machine can do."""

import logging
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from swarm_kernels import cpu
from swarm_kernels.batch import Segment
from swarm_kernels.block import BlockSpec, BlockWeights, Product
from swarm_kernels.blocks import Cache, RopeTable, TorchBlocks
from swarm_kernels.formats import BNB_FORMATS, FORMATS
from swarm_kernels.linear import DequantLinear, Linear
from swarm_kernels.memory import Arena
from swarm_kernels.quant import QuantWeight

logger = logging.getLogger(__name__)


def weight_bits(quant: str, dtype: torch.dtype) -> float:
    """Bits that one weight takes in memory, scales included. dtype: of weights that are not quantised."""
    if quant in FORMATS:
        return FORMATS[quant].bits_per_weight
    return {"bnb-int8": 8.0, "bnb-nf4": 4.5}.get(quant, 8.0 * dtype.itemsize)


Batch = TypeVar("Batch")  # what one implementation wants to know of a batch


class Blocks(Protocol[Batch]):
    """A range of blocks, ready to compute.

    threads: processors that compute, at most; 0: a GPU does
    """

    @property
    def threads(self) -> int: ...

    def layout(self, segments: Sequence[Segment], page_size: int) -> Batch:
        """What `forward` needs to know of a batch. Raises ValueError for segments that make no sense."""

    def forward(self, hidden: Tensor, batch: Batch, cache: Cache, start: int, stop: int) -> Tensor:
        """Blocks start to stop - 1 of the range on hidden [tokens, hidden_size] -> a new tensor of the same shape;
        appends to the pools of `cache`."""

    def tune(self, cache: Cache, most: int) -> None:
        """Find out how many threads are fastest here, at most `most`. For pools that nobody uses yet."""


Tensors = dict[str, Tensor | QuantWeight]


class Backend(Protocol):
    """Makes Blocks.

    numerics_id: names everything that decides the output's bits. Peers with the same id give the same bytes for the
        same bytes, whatever else is in a batch, however prompts are cut, wherever pages lie, and however many threads
        run. Empty where that is not promised: the peer's receipts name no numerics then, and nobody compares its bits.
    norm_dtype:  what norms and biases should be loaded in
    """

    numerics_id: str
    norm_dtype: torch.dtype

    def blocks(
        self, specs: Sequence[BlockSpec], loaded: Iterable[Tensors], rope: RopeTable, max_context: int
    ) -> Blocks[Any]:
        """The blocks as these kernels read them, with batches of their own kind.

        loaded: each block's attn_norm, qkv, o, mlp_norm, gate_up, down, and where the model has them q_norm, k_norm,
        qkv_bias, o_bias, gate_up_bias, down_bias, with the shapes of BlockWeights. One block after the other is taken,
        and its tensors out of their dictionary, so that only one is ever held twice. max_context: positions that a
        session may have.
        """


class CpuBackend:
    """The fused C++ kernels, of which the same build gives the same bits on every processor that runs it."""

    norm_dtype = torch.float32

    def __init__(self, quant: str, dtype: torch.dtype, threads: int):
        format = "bfloat16" if quant == "none" else quant
        short = str(dtype).removeprefix("torch.")
        self.numerics_id = f"cpu-{cpu.kernel_id()}-torch{torch.__version__.split('+')[0]}-{format}-{short}"
        self._dtype, self._threads, self._arena = dtype, threads, Arena()

    def blocks(
        self, specs: Sequence[BlockSpec], loaded: Iterable[Tensors], rope: RopeTable, max_context: int
    ) -> cpu.CpuBlocks:
        weights = [_block_weights(tensors, self._packed) for tensors in loaded]
        return cpu.CpuBlocks(specs, weights, rope, self._dtype, self._threads)

    def _packed(self, weight: Tensor | QuantWeight, bias: Tensor | None) -> cpu.PackedMatrix:
        return cpu.PackedMatrix(weight, bias, self._arena)


class TorchBackend:
    """torch's own operations; bitsandbytes' layers where it asks for them."""

    numerics_id = ""  # torch and oneDNN choose their code by processor and number of rows, see Linear

    def __init__(self, quant: str, dtype: torch.dtype, device: torch.device):
        self.norm_dtype = self._dtype = dtype
        self._quant, self._device = quant, device

    def blocks(
        self, specs: Sequence[BlockSpec], loaded: Iterable[Tensors], rope: RopeTable, max_context: int
    ) -> TorchBlocks:
        return TorchBlocks(specs, [self._block(tensors) for tensors in loaded], rope, self._dtype, self._device)

    def _block(self, tensors: Tensors) -> BlockWeights[Product]:
        for name in tensors:
            tensors[name] = tensors[name].to(self._device)
        return _block_weights(tensors, self._product)

    def _product(self, weight: Tensor | QuantWeight, bias: Tensor | None) -> Product:
        if isinstance(weight, QuantWeight):
            return DequantLinear(weight, bias)
        if self._quant in BNB_FORMATS:
            return _bnb_linear()(self._quant, weight, bias)
        return Linear(weight, bias)


P = TypeVar("P")


def _block_weights(tensors: Tensors, product: Callable[[Tensor | QuantWeight, Tensor | None], P]) -> BlockWeights[P]:
    def made(name: str) -> P:
        return product(tensors.pop(name), vector(f"{name}_bias"))

    def vector(name: str) -> Tensor | None:
        return take_vector(tensors, name) if name in tensors else None

    return BlockWeights(
        attn_norm=take_vector(tensors, "attn_norm"),
        qkv=made("qkv"),
        o=made("o"),
        mlp_norm=take_vector(tensors, "mlp_norm"),
        gate_up=made("gate_up"),
        down=made("down"),
        q_norm=vector("q_norm"),
        k_norm=vector("k_norm"),
    )


def take_vector(tensors: Tensors, name: str) -> Tensor:
    """A norm or a bias, which is never quantised."""
    vector = tensors.pop(name)
    if isinstance(vector, QuantWeight):
        raise TypeError(f"{name} is quantised")
    return vector


def choose_backend(
    quant: str,
    dtype: torch.dtype,
    device: torch.device,
    spec: BlockSpec,
    hidden_size: int,
    intermediate_size: int,
    threads: int,
) -> Backend:
    """quant: one of QUANTS. dtype: of activations, cache, and unquantised weights."""
    native = quant in FORMATS or (quant == "none" and dtype == torch.bfloat16)
    if device.type == "cpu" and native and cpu.is_available():
        if cpu.supports(spec, hidden_size, intermediate_size):
            return CpuBackend(quant, dtype, threads)
        logger.warning("the fused CPU kernels do not know such blocks, torch computes instead: %s", spec)
    if device.type == "cuda" and quant not in BNB_FORMATS:
        if find_spec("triton"):
            return _triton_backend()(dtype, device)
        logger.warning("triton is not installed, torch computes instead: pip install 'swarm-inference[cuda]'")
    return TorchBackend(quant, dtype, device)


def _triton_backend() -> Callable[[torch.dtype, torch.device], Backend]:
    from swarm_kernels.triton.backend import TritonBackend  # noqa: PLC0415  # an extra, not installed everywhere
    from swarm_kernels.triton.cache import settle_cache  # noqa: PLC0415

    settle_cache()
    return TritonBackend


def _bnb_linear() -> Callable[[str, Tensor, Tensor | None], Product]:
    from swarm_kernels.bnb import BnbLinear  # noqa: PLC0415  # three seconds that only its users should wait

    return BnbLinear
