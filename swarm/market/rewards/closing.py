"""Closing an epoch, as a ledger's issuer: end its commitments, wait for what is revealed, mint its emission.

Each step is one entry of the book, and what is next follows from the book: whoever is interrupted goes on where it was.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from swarm.errors import InvalidRequest, LedgerRefusal
from swarm.market.ledger.ledger import Ledger
from swarm.market.pricing.policy import Epoch, Pricing
from swarm.market.rewards.ballots import counted
from swarm.market.rewards.claims import claimed
from swarm.market.rewards.epochs import Epochs, Span, revealed, settled, stakes

REVEAL_S = 600
MODES = ("market", "rewards", "contribution")
MAX_PAYMENTS = 512  # in one emission: what all kinds of ledger take


@dataclass(frozen=True)
class Plan:
    """What an epoch's emission is decided by. Raises InvalidRequest."""

    pricing: Pricing  # its mode is one of MODES
    emission: int  # nano-credits per epoch, at most
    reveal_s: int = REVEAL_S  # from an epoch's end, in which what was committed to may be revealed

    def __post_init__(self) -> None:
        if self.pricing.mode not in MODES:
            raise InvalidRequest(f"pricing {self.pricing.mode} mints nothing; epochs are for {', '.join(MODES)}")
        if self.reveal_s < 0:
            raise InvalidRequest(f"nobody can reveal anything in {self.reveal_s} s")

    @property
    def is_revealed(self) -> bool:
        """Whether it depends on what is revealed after an epoch, and has to wait for that."""
        return self.pricing.mode != "market"


@dataclass(frozen=True)
class Closed:
    """One step towards an epoch's end. payments: nano-credits by address; None: its commitments were ended, and the
    emission is to come."""

    epoch: int
    payments: Mapping[bytes, int] | None = None


class Closer:
    """Of one ledger, in its issuer's name."""

    def __init__(self, ledger: Ledger, plan: Plan):
        self._ledger, self._plan, self._epochs = ledger, plan, Epochs(ledger)
        self._paid = -1  # epochs up to this one have been paid

    def step(self, epoch_s: float = 0.0) -> Closed | None:
        """Whatever is next, if it is time; epoch_s: that an epoch lasts at least. To be called again and again.

        Raises LedgerRefusal, in the name of another than the issuer; PeerUnreachable.
        """
        *ended, running = self._epochs.read()
        now_s = self._ledger.now()
        if ended and not self._is_paid(ended[-1]):
            if now_s < self.due_s(ended[-1]):
                return None
            if closed := self._emit(ended[-1]):
                return closed
        if now_s < running.begun_ms // 1000 + epoch_s:
            return None
        self._ledger.end_commits(running.epoch)
        return Closed(running.epoch)

    def pending(self) -> Span | None:
        """The epoch that has ended and is not paid yet."""
        ended = self._epochs.read()[:-1]
        return ended[-1] if ended and not self._is_paid(ended[-1]) else None

    def due_s(self, span: Span) -> int:
        """From when on an epoch that has ended may be paid, Unix time by the ledger's clock: nothing that comes in from
        then on was revealed in time."""
        return ceil(span.ended_ms / 1000) + self._plan.reveal_s if self._plan.is_revealed else 0

    def _is_paid(self, span: Span) -> bool:
        return span.is_emitted or span.epoch <= self._paid

    def _emit(self, span: Span) -> Closed | None:
        payments = payments_of(self._ledger, span, self._plan)
        try:
            self._ledger.emit(span.epoch, payments)
        except LedgerRefusal:
            if payments:
                raise
            self._paid = span.epoch  # nothing was to be paid, and that was said before
            return None
        self._paid = span.epoch
        return Closed(span.epoch, payments)


def payments_of(ledger: Ledger, span: Span, plan: Plan) -> dict[bytes, int]:
    """What is minted for an epoch that has ended, by address: whoever knows the plan computes the same from the book.

    Of more than MAX_PAYMENTS, those that get least get nothing.
    """
    epoch = _epoch(ledger, span, plan)
    earned = plan.pricing.emission(epoch)
    return dict(heapq.nlargest(MAX_PAYMENTS, earned.items(), key=lambda one: (one[1], one[0])))


def _epoch(ledger: Ledger, span: Span, plan: Plan) -> Epoch:
    if plan.pricing.mode == "market":
        return Epoch(span.epoch, plan.emission, settled(ledger, span))
    if plan.pricing.mode == "contribution":
        *ended, _ = Epochs(ledger).read()
        return Epoch(span.epoch, plan.emission, claimed(ledger, ended, span, plan.reveal_s))
    ballots = counted(span.epoch, revealed(ledger, span, plan.reveal_s))
    voters = {address for address, stake in stakes(ledger, span, ballots).items() if stake}
    weights = {address: ballot for address, ballot in ballots.items() if address in voters}
    named = voters.union(*weights.values())
    return Epoch(span.epoch, plan.emission, (), stakes(ledger, span, named), weights)
