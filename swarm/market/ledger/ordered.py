"""A ledger that is given signed orders: what its operations have in common, wherever the book is."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ids import channel_id
from swarm.market.ledger.ledger import Channel, Entry, Ledger
from swarm.market.ledger.orders import Value, new_order, pack_payments, pack_vouchers
from swarm.market.ledger.records import Record
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import Identity


class OrderedLedger(Ledger):
    """Signs orders in the name of `identity`, and reads off the entries what became of them."""

    keeper: bytes  # address of who signs the entries

    def __init__(self, identity: Identity):
        self._identity = identity
        self.address = identity.address

    @abstractmethod
    def submit(self, order: bytes) -> Entry:
        """Carry out an order that somebody has signed, see swarm.market.ledger.orders; it is untrusted. Raises
        InvalidRequest if it is malformed, and what all operations raise."""

    @abstractmethod
    def records(self, address: bytes | None = None, first: int = 0) -> Iterator[Record]:
        """Like `history`, with orders and the keeper's signatures."""

    @abstractmethod
    def unbonding(self, address: bytes | None = None) -> list[tuple[int, int]]:
        """What of `address` is on its way back: amounts, and the Unix times from which they may be withdrawn."""

    def history(self, address: bytes | None = None, first: int = 0) -> Iterator[Entry]:
        return (record.entry for record in self.records(address, first))

    def _order(self, kind: str, *values: Value) -> Entry:
        return self.submit(new_order(self.id, kind, *values).sign(self._identity).encode())

    # --- money -------------------------------------------------------------------------------------------------------

    def mint(self, to: bytes, amount: int) -> None:
        self._order("mint", to, amount)

    def burn(self, amount: int) -> None:
        self._order("burn", amount)

    def transfer(self, to: bytes, amount: int) -> None:
        self._order("transfer", to, amount)

    # --- channels ----------------------------------------------------------------------------------------------------

    def open_channel(self, payee: bytes, amount: int) -> Channel:
        salt = os.urandom(32)
        self._order("open_channel", payee, amount, salt)
        return Channel(channel_id(self.id, self.address, payee, salt), self.address, payee, amount)

    def top_up(self, channel: bytes, amount: int) -> None:
        self._order("top_up", channel, amount)

    def settle(self, vouchers: Sequence[SignedVoucher]) -> list[int]:
        entry = self._order("settle", pack_vouchers(vouchers))
        # What a voucher is worth leaves the escrow in one line, in the order of the vouchers.
        return [-line.amount for line in entry.postings if line.bucket == "escrowed"]

    def release(self, channel: bytes) -> None:
        self._order("release", channel)

    def request_close(self, channel: bytes) -> None:
        self._order("request_close", channel)

    def close(self, channel: bytes) -> None:
        self._order("close", channel)

    # --- stake -------------------------------------------------------------------------------------------------------

    def bond(self, amount: int) -> None:
        self._order("bond", amount)

    def unbond(self, amount: int) -> None:
        self._order("unbond", amount)

    def withdraw(self) -> int:
        return _gone(self._order("withdraw"))

    def slash_equivocation(self, first: SignedReceipt, second: SignedReceipt) -> int:
        return _gone(self._order("slash_equivocation", first.encode(), second.encode()))

    def slash(self, offender: bytes, amount: int, reporter: bytes, evidence: bytes) -> int:
        return _gone(self._order("slash", offender, amount, reporter, evidence))

    # --- epochs ------------------------------------------------------------------------------------------------------

    def commit(self, epoch: int, digest: bytes) -> None:
        self._order("commit", epoch, digest)

    def reveal(self, epoch: int, payload: bytes) -> None:
        self._order("reveal", epoch, payload)

    def end_commits(self, epoch: int) -> None:
        self._order("end_commits", epoch)

    def emit(self, epoch: int, payments: Mapping[bytes, int]) -> None:
        self._order("emit", epoch, pack_payments(payments))


def _gone(entry: Entry) -> int:
    """What left accounts."""
    return -sum(line.amount for line in entry.postings if line.amount < 0)
