"""A ledger that is given signed orders: what its operations have in common, wherever the book is."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.bookkeeping.orders import SignedOrder, new_order, pack_payments, pack_vouchers
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.bookkeeping.rules import Terms
from swarm.market.ledger.ledger import Entry, Ledger, Posting
from swarm.wire.formats.eip712 import Value
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import Identity


class OrderedLedger(Ledger):
    """Signs orders in the name of `identity`, and reads off the entries what became of them."""

    keeper: bytes  # address of who signs the entries

    def __init__(self, identity: Identity):
        self._identity = identity
        self.address = identity.address

    def _set_terms(self, terms: Terms) -> None:
        self.id, self.rules = terms.id, terms.rules
        self.issuer, self.arbiter, self.keeper = terms.issuer, terms.arbiter, terms.keeper

    @abstractmethod
    def submit(self, order: SignedOrder) -> Record:
        """Carry out an order that somebody has signed; returns the entry as the keeper signed it. Raises what all
        operations raise."""

    @abstractmethod
    def records(self, address: bytes | None = None, first: int = 0) -> Iterator[Record]:
        """Like `history`, with orders and the keeper's signatures."""

    @abstractmethod
    def unbonding(self, address: bytes | None = None) -> list[tuple[int, int]]:
        """What of `address` is on its way back: amounts, and the Unix times from which they may be withdrawn."""

    def history(self, address: bytes | None = None, first: int = 0) -> Iterator[Entry]:
        return (record.entry for record in self.records(address, first))

    def emit(self, epoch: int, payments: Mapping[bytes, int]) -> None:
        self._order("emit", epoch, pack_payments(payments))

    def _settle(self, vouchers: Sequence[SignedVoucher]) -> Sequence[Posting]:
        return self._order("settle", pack_vouchers(vouchers))

    def _slash_equivocation(self, first: SignedReceipt, second: SignedReceipt) -> Sequence[Posting]:
        return self._order("slash_equivocation", first.encode(), second.encode())

    def _order(self, kind: str, *values: Value) -> Sequence[Posting]:
        return self.submit(new_order(self.id, kind, *values).sign(self._identity)).postings
