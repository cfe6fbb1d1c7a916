"""What one session has on this hop from its opening on: a name, blocks, room, and a place among others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from swarm.server.admission.line import Place
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb

SessionKey = tuple[bytes, int]  # session id and first block: one peer may be several hops of a chain


@dataclass(frozen=True, eq=False)
class Reservation:
    """Does not change as long as the session is open."""

    key: SessionKey
    start: int  # first block
    stop: int  # one past the last
    max_tokens: int
    dtype: torch.dtype  # of activations on the wire
    seq: int  # of the opening: older steps are not for this session
    background: bool  # computed while nothing else waits
    place: Place  # in the line before this server, by which it was let in
    pages: Sequence[int]
    block_table: npt.NDArray[np.int64]  # the same, as each step's layout needs it

    @classmethod
    def of(cls, request: pb.Open, pages: Sequence[int], place: Place) -> "Reservation":
        """request: checked. pages: from the pool, which the scheduler gives back."""
        return cls(
            key=(request.session_id, request.start),
            start=request.start,
            stop=request.stop,
            max_tokens=request.max_tokens,
            dtype=codec.torch_dtype(request.wire_dtype),
            seq=request.seq,
            background=request.payment.batch,
            place=place,
            pages=pages,
            block_table=np.array(pages, dtype=np.int64),
        )

    @property
    def priority_fee(self) -> int:
        """Nano-credits per block-token: where there is a choice, those that pay more go first."""
        return self.place.ask.priority_fee
