"""Work to be audited."""

from itertools import pairwise

import torch

from swarm.verify.audit.case import Case
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity

BF16 = torch.bfloat16

BLOCKS = (10, 12)

TOKENS = 64


class Recorded:
    """An auditor whose results are given: `reference` plus rounding of size `noise`."""

    numerics_id = "same"

    def __init__(self, tokens: int, hidden_size: int = 64, noise: float = 0.01, seed: int = 0):
        self._generator = torch.Generator().manual_seed(seed)
        self.x = self._normal(tokens, hidden_size)
        self.values = self.x + self._normal(tokens, hidden_size)
        self.rounded = self.values + noise * self._normal(tokens, hidden_size)

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator)

    def off_by(self, error: float) -> torch.Tensor:
        """Outputs of somebody else whose rounding has this size."""
        return self.values + error * self._normal(*self.x.shape)

    def exact(self, x: torch.Tensor) -> torch.Tensor:
        return self.values

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return self.values

    def noise(self, x: torch.Tensor) -> torch.Tensor:
        return self.rounded


def signed_case(x: torch.Tensor, y: torch.Tensor, numerics_id: str, first: int = 0) -> Case:
    """What a peer signed that promised these numerics, and gave y [count, hidden_size] for x from position `first` on.
    A receipt has 8 tokens at most."""
    peer, signed = Identity(), list[SignedReceipt]()
    terms = Terms(
        bytes(16), 1, peer.address, *BLOCKS, NOTHING, "none/bfloat16", numerics_id, codec.wire_dtype(y.dtype), NOTHING
    )
    writer = ReceiptWriter(peer, terms, signed.append)
    inputs, outputs = codec.to_rows(x, y.dtype), codec.to_rows(torch.cat([x[:first].to(y.dtype), y]), y.dtype)
    cuts = [*range(0, first, 8), *range(first, len(x), 8), len(x)]
    for start, stop in pairwise(cuts):
        writer.record(start, inputs[start:stop], outputs[start:stop])
        writer.seal()
    return Case(tuple(signed), first, inputs, outputs[first:])
