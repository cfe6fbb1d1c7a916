"""The ledger: who owns what, one interface over every kind of book.

An account is a 20-byte EVM address, that of the key that signs for it. What it owns is in one of four buckets. Amounts
are whole nano-credits. After every operation the sum of all accounts is what was minted less what was burned; an
operation that is refused changes nothing.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.errors import LedgerRefusal
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ids import channel_id
from swarm.wire.formats.eip712 import Value
from swarm.wire.formats.receipts import SignedReceipt

DAY_S = 86_400
PER_MILLION = 1_000_000


@dataclass(frozen=True)
class Rules:
    """What a ledger fixes when it is made."""

    withdraw_delay_s: int = DAY_S  # that a payee has to settle in, once the payer wants to close a channel
    unbonding_s: int = 7 * DAY_S
    reporter_ppm: int = PER_MILLION // 2  # of what is slashed, for the reporter; the rest is burned
    burn_ppm: int = 0  # of every settlement, burned


@dataclass(frozen=True)
class Account:
    """What one address owns, in nano-credits."""

    available: int = 0
    escrowed: int = 0  # in channels that it pays from
    staked: int = 0
    unbonding: int = 0  # stake on its way back; slashable until it has been withdrawn

    @property
    def total(self) -> int:
        return self.available + self.escrowed + self.staked + self.unbonding


@dataclass(frozen=True)
class Supply:
    minted: int
    burned: int


@dataclass(frozen=True)
class Channel:
    """Escrow of one payer for one payee."""

    id: bytes  # channel_id(ledger, payer, payee, salt)
    payer: bytes  # addresses
    payee: bytes
    deposit: int  # put in, all top-ups included
    paid: int = 0  # settled so far, burned part included
    closes_at: int = 0  # Unix time from which the payer may take the rest; 0: it has not asked for it
    is_closed: bool = False

    @property
    def is_ending(self) -> bool:
        """Whether it is closed, or its payer has asked for that."""
        return self.is_closed or self.closes_at > 0

    @property
    def rest(self) -> int:
        """Still in escrow."""
        return 0 if self.is_closed else self.deposit - self.paid


@dataclass(frozen=True)
class Posting:
    """One line of an entry: so much more, or less, in one bucket of one account.

    bucket: a field of Account; "minted" and "burned" (with the zero address) are the world outside, so that the lines
    of every entry add up to 0.
    """

    address: bytes
    bucket: str
    amount: int


@dataclass(frozen=True)
class Entry:
    """One operation in the book."""

    number: int  # from 0; on a chain, numbers may be missing
    time_ms: int
    kind: str  # the method's name in Ledger, "open_channel"
    by: bytes  # address of who ordered it
    details: Mapping[str, Any]  # its arguments, as JSON has them: bytes as hex, amounts as int
    postings: tuple[Posting, ...]
    hash: bytes  # by which this entry is known: of the chain up to here, or of the transaction


class Ledger(ABC):
    """A ledger, as one account holder sees it: operations are in the name of `address`.

    Calls block, and may come from any thread. All raise LedgerRefusal, a InvalidRequest, if the ledger's rules forbid
    the operation, which then has changed nothing; PeerUnreachable if the ledger does not answer, in which case the
    operation may or may not have been done, and reading tells.
    """

    id: bytes  # 32 bytes: vouchers and orders name it
    rules: Rules
    address: bytes  # 20 bytes: in whose name
    issuer: bytes  # who may mint
    arbiter: bytes  # who may slash for what cannot be checked by signatures alone

    @abstractmethod
    def shut(self) -> None:
        """Let go of files and connections. Nothing may be called afterwards."""

    # --- reading -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def now(self) -> int:
        """The ledger's own clock, Unix time: what delays are measured by."""

    @abstractmethod
    def account(self, address: bytes | None = None) -> Account:
        """Of `address`, by default one's own; an empty one if nobody ever used it."""

    @abstractmethod
    def supply(self) -> Supply: ...

    @abstractmethod
    def channel(self, channel: bytes) -> Channel | None: ...

    @abstractmethod
    def channels(self, payer: bytes | None = None, payee: bytes | None = None) -> list[Channel]:
        """All, or those of one payer, or payee, or both, in the order in which they were opened; closed ones, too."""

    @abstractmethod
    def history(self, address: bytes | None = None, first: int = 0) -> Iterator[Entry]:
        """Entries from number `first` on, all or those that touch `address`."""

    # --- money -------------------------------------------------------------------------------------------------------

    def mint(self, to: bytes, amount: int) -> None:
        """New credits. The issuer only, on a chain anybody who pays for them in its currency."""
        self._order("mint", to, amount)

    def redeem(self, amount: int) -> None:
        """Burn credits, and get them paid out in a chain's currency. Refused where none backs them."""
        raise LedgerRefusal("nothing backs this ledger's credits; only those of a ledger on a chain can be redeemed")

    def burn(self, amount: int) -> None:
        self._order("burn", amount)

    def transfer(self, to: bytes, amount: int) -> None:
        self._order("transfer", to, amount)

    # --- channels ----------------------------------------------------------------------------------------------------

    def open_channel(self, payee: bytes, amount: int) -> Channel:
        """Put `amount` into escrow for `payee`."""
        salt = os.urandom(32)
        self._order("open_channel", payee, amount, salt)
        return Channel(channel_id(self.id, self.address, payee, salt), self.address, payee, amount)

    def top_up(self, channel: bytes, amount: int) -> None:
        """The payer's; more escrow, and a wish to close is taken back."""
        self._order("top_up", channel, amount)

    def settle(self, vouchers: Sequence[SignedVoucher]) -> list[int]:
        """Pay what each voucher exceeds what its channel has paid so far; returns how much each was worth. All or
        nothing: refused if one of them is stale, over the deposit, for another ledger or an unknown or closed channel,
        not signed by its payer, or if nothing is left to pay on one. Anybody may, in the payee's favour."""
        # What a voucher is worth leaves the escrow in one line, in the order of the vouchers.
        return [-line.amount for line in self._settle(vouchers) if line.bucket == "escrowed"]

    def release(self, channel: bytes) -> None:
        """The payee's: close it, and give the payer the rest at once."""
        self._order("release", channel)

    def request_close(self, channel: bytes) -> None:
        """The payer's: the rest is its own again after the delay, in which the payee may settle."""
        self._order("request_close", channel)

    def close(self, channel: bytes) -> None:
        """The payer's, once the delay is over: take the rest."""
        self._order("close", channel)

    # --- stake -------------------------------------------------------------------------------------------------------

    def bond(self, amount: int) -> None:
        """Stake it."""
        self._order("bond", amount)

    def unbond(self, amount: int) -> None:
        """Begin to take stake back. On a chain, at most eight parts of it unbond at a time."""
        self._order("unbond", amount)

    def withdraw(self) -> int:
        """Take back what has been unbonding long enough; returns how much, which may be 0."""
        return _gone(self._order("withdraw"))

    def slash_equivocation(self, first: SignedReceipt, second: SignedReceipt) -> int:
        """Two different receipts that one peer signed for the same work: all its stake, bonded and unbonding, is gone.
        Anybody may, once for each offence (its slot), and gets the reporter's share. Returns how much was slashed.
        Refused if it is no equivocation, or the signer has no stake."""
        return _gone(self._slash_equivocation(first, second))

    def slash(self, offender: bytes, amount: int, reporter: bytes, evidence: bytes) -> int:
        """The arbiter's verdict. Takes up to `amount`, first of what is bonded, then of what is unbonding; once for
        each `evidence` (32 bytes, its digest). Returns how much was slashed."""
        return _gone(self._order("slash", offender, amount, reporter, evidence))

    # --- epochs ------------------------------------------------------------------------------------------------------

    def commit(self, epoch: int, digest: bytes) -> None:
        """Fix what will be revealed: keccak256 of the payload. Once for each epoch and address."""
        self._order("commit", epoch, digest)

    def reveal(self, epoch: int, payload: bytes) -> None:
        """Publish what was committed to. Refused before the commitments of the epoch are closed by `end_commits`."""
        self._order("reveal", epoch, payload)

    def end_commits(self, epoch: int) -> None:
        """The issuer's: from now on nobody may commit for `epoch`, or an earlier one, and all may reveal."""
        self._order("end_commits", epoch)

    @abstractmethod
    def emit(self, epoch: int, payments: Mapping[bytes, int]) -> None:
        """The issuer's: mint an epoch's rewards. Once for each epoch."""

    # --- how it is ordered -------------------------------------------------------------------------------------------

    @abstractmethod
    def _order(self, kind: str, *values: Value) -> Sequence[Posting]:
        """Have it done; returns what it moved. values: the arguments, as bookkeeping.orders has them."""

    @abstractmethod
    def _settle(self, vouchers: Sequence[SignedVoucher]) -> Sequence[Posting]: ...

    @abstractmethod
    def _slash_equivocation(self, first: SignedReceipt, second: SignedReceipt) -> Sequence[Posting]: ...


def _gone(postings: Sequence[Posting]) -> int:
    """What left accounts."""
    return -sum(line.amount for line in postings if line.amount < 0)
