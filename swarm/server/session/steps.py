"""The steps of one session: those that wait to be computed, what fits among them, how far the session has come, and the
part of a step that one batch computes."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from swarm import shown
from swarm.errors import InvalidRequest
from swarm.server.session.reservation import Reservation
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows, read_rows
from swarm.wire.formats.receipts import MAX_RECEIPT_BYTES, Tokens
from swarm.wire.transport import MAX_STEP_TOKENS

if TYPE_CHECKING:
    from swarm.server.session.session import Session

MAX_RECOMPUTED = 10  # times its reservation that a session may compute: what it computes is signed, and that kept
MAX_VISITS = 256  # hops before this one
MAX_RECEIPTS = 2 * MAX_VISITS  # with one step


@dataclass(slots=True, eq=False)
class Work:
    """A checked step that waits for, or is in, computation."""

    step: pb.Step  # as it came; its receipts are unchecked
    rows: Rows  # its, which have been checked
    hidden: torch.Tensor = field(init=False)  # the same, [count, hidden_size]
    remaining: int = field(init=False)  # rows that are not computed yet: a long step takes several batches
    arrived: float = field(init=False)

    def __post_init__(self) -> None:
        self.hidden, self.remaining, self.arrived = self.rows.tensor(), self.step.count, time.perf_counter()

    @property
    def to_compute(self) -> Tokens:
        """What is still to do."""
        return Tokens.of(self.remaining, self.step.prompt)


class StepQueue:
    """Of one session."""

    def __init__(self, reservation: Reservation, hidden_size: int, check: Callable[[pb.Step], None]):
        """check: raises InvalidRequest for a step that fits, and is not to be computed all the same."""
        self._reservation, self._hidden_size, self._check_further = reservation, hidden_size, check
        self.waiting: deque[Work] = deque()  # the first may be in computation
        self.next_rows = 0  # what is left of the first
        self.length = 0  # positions computed or queued
        self._accepted = 0  # positions, those that were computed again included
        self._seq = reservation.seq  # of the newest step

    @property
    def used(self) -> bool:
        """Whether there ever was a step."""
        return self._accepted > 0

    @property
    def waiting_tokens(self) -> int:
        return sum(work.remaining for work in self.waiting)

    def accept(self, step: pb.Step) -> bool:
        """Check `step`, which comes from the network, and queue it. Raises InvalidRequest and changes nothing if it
        does not fit: position, count, dtype, shape and digest are all verified before anything is computed.

        What waits from the step's position on is dropped, for the step rewinds it; so no more than a reservation's
        tokens ever wait, beside the step in computation. A step older than one that came before is dropped itself, and
        this returns False: a hop sent it that has been replaced since.
        """
        if step.seq < self._seq:
            return False
        self._check(step)
        rows = read_rows(step.hidden, (step.count, self._hidden_size), self._reservation.dtype)
        while len(self.waiting) > 1 and self.waiting[-1].step.position >= step.position:
            self.waiting.pop()
        self.waiting.append(Work(step, rows))
        self.next_rows = self.waiting[0].remaining
        self._seq = step.seq
        self.length = step.position + step.count
        self._accepted += step.count
        return True

    def advance(self, count: int) -> None:
        """So many rows more of the first step are computed."""
        work = self.waiting[0]
        work.remaining -= count
        if not work.remaining:
            self.waiting.popleft()
        self.next_rows = self.waiting[0].remaining if self.waiting else 0

    def clear(self) -> None:
        """Nothing of what waits is computed any more."""
        self.waiting.clear()
        self.next_rows = 0

    def progress(self, seq: int, load: pb.Load) -> pb.Progress:
        """How far this hop has come, for the client's Probe number `seq`."""
        first = self.waiting[0] if self.waiting else None
        computed = first.step.position + len(first.hidden) - first.remaining if first else self.length
        return pb.Progress(seq=seq, received=self.length, computed=computed, last_seq=self._seq, load=load)

    def _check(self, step: pb.Step) -> None:
        count, end, most = step.count, step.position + step.count, self._reservation.max_tokens
        if not 1 <= count <= MAX_STEP_TOKENS:
            raise InvalidRequest(f"a step of {shown.count(count, 'token')}; send between 1 and {MAX_STEP_TOKENS}")
        if len(step.visits) > MAX_VISITS:
            raise InvalidRequest(
                f"a step that claims {shown.count(len(step.visits), 'visit')}; a chain has at most {MAX_VISITS} hops"
            )
        if len(step.receipts) > MAX_RECEIPTS or max(map(len, step.receipts), default=0) > MAX_RECEIPT_BYTES:
            raise InvalidRequest(f"a step with {shown.count(len(step.receipts), 'receipt')}, or an oversized one")
        if step.position > self.length:
            raise InvalidRequest(
                f"position {step.position} leaves a gap: this session has {shown.count(self.length, 'token')} so far"
            )
        if self._accepted + count > MAX_RECOMPUTED * most:
            raise InvalidRequest(
                f"this session has computed {shown.count(self._accepted, 'position')}, most of them again and "
                "again; open another"
            )
        if end > most:
            raise InvalidRequest(f"positions {step.position}:{end} are beyond the {most} that this session reserved")
        self._check_further(step)


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
        return cls(session, work, first, count, work.step.position + first, work.remaining == count)

    @property
    def inputs(self) -> Rows:
        """As they came."""
        rows, stop = self.work.rows, self.first + self.count
        return rows if self.final and not self.first else rows[self.first : stop]
