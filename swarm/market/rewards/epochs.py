"""Epochs, as a ledger's book tells them: whoever reads it finds the same ones, and in each the same work and ballots.

An epoch ends with the entry by which the issuer closes its commitments (`Ledger.end_commits`), and there the next one
begins. What was committed to is revealed afterwards, for a time that the closer fixes; then the issuer mints the
epoch's emission (`Ledger.emit`). No clock but the ledger's own counts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from swarm.market.ledger.ledger import Entry, Ledger, Posting
from swarm.market.pricing.policy import Work


@dataclass(frozen=True)
class Span:
    """Where one epoch is in the book."""

    epoch: int
    first: int  # number from which its entries are
    begun_ms: int
    last: int | None = None  # number of the entry that ended it; None: it is running
    ended_ms: int = 0
    is_emitted: bool = False  # an emission of nothing leaves no trace on a chain

    @property
    def next(self) -> int:
        """Number from which entries are of later epochs. Raises ValueError while it is running."""
        if self.last is None:
            raise ValueError(f"epoch {self.epoch} has not ended")
        return self.last + 1


class Epochs:
    """The epochs of one ledger, of which what is old is read once. Not for several threads at a time."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._ended: list[Span] = []
        self._next = 0  # number of the first of the issuer's entries that is not read yet
        self._running: Span | None = None

    def read(self) -> list[Span]:
        """All of them, in order; the last one is running. Raises PeerUnreachable."""
        running = self._running or Span(0, 0, _begin_ms(self._ledger))
        for entry in self._ledger.history(self._ledger.issuer, self._next):
            self._next = entry.number + 1
            if entry.kind == "end_commits":
                running = self._end(running, entry)
            elif entry.kind == "emit":
                self._ended = [_emitted(span, _epoch_of(entry)) for span in self._ended]
        self._running = running
        return [*self._ended, running]

    def _end(self, running: Span, entry: Entry) -> Span:
        """The one that runs from then on. An issuer may leave numbers out; those are no epochs."""
        epoch = _epoch_of(entry)
        self._ended.append(replace(running, epoch=epoch, last=entry.number, ended_ms=entry.time_ms))
        return Span(epoch + 1, entry.number + 1, entry.time_ms)


def settled(ledger: Ledger, span: Span) -> list[Work]:
    """What clients paid servers in an epoch that has ended. The book says how much, and not for how many block-tokens:
    these are 1."""
    paid: dict[tuple[bytes, bytes], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in _entries(ledger, span):
        for client, server, amount, burned in _payments(entry.postings) if entry.kind == "settle" else ():
            before, burned_before = paid[server, client]
            paid[server, client] = before + amount, burned_before + burned
    return [Work(server, client, 1, amount, burned) for (server, client), (amount, burned) in sorted(paid.items())]


def revealed(ledger: Ledger, span: Span, reveal_s: int) -> dict[bytes, bytes]:
    """What was revealed for an epoch that has ended, within so many seconds from its end; by address."""
    until_ms = span.ended_ms + reveal_s * 1000
    payloads: dict[bytes, bytes] = {}
    for entry in ledger.history(first=span.next):
        if entry.time_ms >= until_ms:
            break
        if entry.kind == "reveal" and entry.details["epoch"] == span.epoch:
            payloads[entry.by] = bytes.fromhex(entry.details["payload"])
    return payloads


def stakes(ledger: Ledger, span: Span, addresses: Iterable[bytes]) -> dict[bytes, int]:
    """Nano-credits that addresses had at stake when an epoch ended. What is bonded once ballots are open adds no weight
    to them."""
    wanted = set(addresses)
    later = _stake_changes(ledger, span.next)
    while True:
        at_end = {address: ledger.account(address).staked for address in wanted}
        for line in later:
            if line.address in at_end:
                at_end[line.address] -= line.amount
        seen, later = later, _stake_changes(ledger, span.next)
        if seen == later:  # else an account may have been read after an entry that was not there before
            return at_end


def _stake_changes(ledger: Ledger, first: int) -> list[Posting]:
    return [line for entry in ledger.history(first=first) for line in entry.postings if line.bucket == "staked"]


def _entries(ledger: Ledger, span: Span) -> Iterator[Entry]:
    for entry in ledger.history(first=span.first):
        if entry.number >= span.next:
            return
        yield entry


def _payments(postings: Iterable[Posting]) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Client, server, amount and its burned part of each voucher. A settlement's lines are, for one voucher after the
    other: out of escrow, to the payee, burned. Where all is burned nobody is paid, and nothing is counted."""
    client, server, amount, burned = b"", b"", 0, 0
    for line in (*postings, Posting(b"", "escrowed", 0)):
        if line.bucket == "escrowed":
            if server:
                yield client, server, amount, burned
            client, server, amount, burned = line.address, b"", -line.amount, 0
        elif line.bucket == "burned":
            burned = line.amount
        else:
            server = line.address


def _begin_ms(ledger: Ledger) -> int:
    """When the book begins."""
    first = next(ledger.history(), None)
    return first.time_ms if first else ledger.now() * 1000


def _epoch_of(entry: Entry) -> int:
    """On a chain, an emission's entry has a part for every payment."""
    details = entry.details["all"][0] if "all" in entry.details else entry.details
    return int(details["epoch"])


def _emitted(span: Span, epoch: int) -> Span:
    return replace(span, is_emitted=True) if span.epoch == epoch else span
