"""A step that waits for computation, and the part of it that one batch computes."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows
from swarm.wire.formats.receipts import Tokens

if TYPE_CHECKING:
    from swarm.server.session.session import Session


@dataclass(slots=True, eq=False)
class Work:
    """A checked step that waits for, or is in, computation."""

    position: int
    rows: Rows  # as they came
    hidden: torch.Tensor  # the same, [count, hidden_size]
    want: pb.Want
    visits: list[pb.Visit]  # of the hops before this one
    seq: int
    replay: bool
    seal: bool
    receipts: list[bytes]  # of the hops before this one, unchecked
    prompt: bool  # priced as prefill
    remaining: int  # rows that are not computed yet: a long step takes several batches
    arrived: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, step: pb.Step, rows: Rows) -> "Work":
        """rows: the step's, which have been checked."""
        return cls(
            step.position, rows, rows.tensor(), step.want, list(step.visits), step.seq, step.replay, step.seal,
            list(step.receipts), step.prompt, step.count,
        )  # fmt: skip

    @property
    def to_compute(self) -> Tokens:
        """What is still to do."""
        return Tokens.of(self.remaining, self.prompt)


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive rows of one session's step, computed in one batch."""

    session: "Session"
    work: Work
    first: int  # rows of work.hidden
    count: int
    position: int  # of the first row
    final: bool  # these are the step's last rows

    @classmethod
    def next(cls, session: "Session", count: int) -> "Slice":
        """The next `count` rows of what waits in `session`."""
        work = session.steps.waiting[0]
        first = len(work.hidden) - work.remaining
        return cls(session, work, first, count, work.position + first, work.remaining == count)

    @property
    def inputs(self) -> Rows:
        """As they came."""
        rows, stop = self.work.rows, self.first + self.count
        return rows if self.final and not self.first else rows[self.first : stop]
