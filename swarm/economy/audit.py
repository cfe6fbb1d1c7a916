"""Auditing a ledger: everything in its book done again, in a new one, from the signed orders alone."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from swarm.economy.book import Book
from swarm.economy.ids import format_address
from swarm.economy.ledger import Account, Supply
from swarm.economy.ordered import OrderedLedger
from swarm.economy.records import Record
from swarm.economy.rules import Terms
from swarm.economy.sqlite_ledger import SqliteLedger, connect
from swarm.errors import InvalidRequest, SwarmError

MAX_PROBLEMS = 20  # told


@dataclass(frozen=True)
class AuditReport:
    """What was found, and what the orders amount to."""

    terms: Terms | None  # None if the book is empty or does not begin as one
    entries: int  # that hold
    head: bytes  # hash of the last of these
    accounts: dict[bytes, Account]
    supply: Supply
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.problems


def audit(ledger: OrderedLedger | Path) -> AuditReport:
    """Check hash chain, signatures of orders and heads, postings and their sums, balances and supply; of a file, or a
    ledger on this machine, that its tables are what its entries amount to as well.

    Raises SwarmError if it cannot be read at all.
    """
    if isinstance(ledger, Path):
        return _audit_file(ledger)
    if isinstance(ledger, SqliteLedger):
        with ledger.reading() as book, book.snapshot():
            return _Audit().run(book.records(), book)
    return _Audit().run(ledger.records())


def _audit_file(path: Path) -> AuditReport:
    if not path.exists():
        raise SwarmError(f"there is no ledger in {path}")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, isolation_level=None, uri=True)) as database:
            book = Book(database)
            with book.snapshot():
                return _Audit().run(book.records(), book)
    except sqlite3.Error as error:
        raise SwarmError(f"the ledger in {path} cannot be read: {error}") from error


class _Audit:
    def __init__(self) -> None:
        self._again = Book(connect(None))
        self._again.create()
        self._problems: list[str] = []

    def run(self, records: Iterable[Record], book: Book | None = None) -> AuditReport:
        """book: to be compared with what the records amount to."""
        try:
            for record in records:
                if not self._check(record):
                    break
        except InvalidRequest as error:
            self._problems.append(f"entry {self._again.head()[0] + 1} cannot be read: {error}")
        self._check_sums()
        if book and not self._problems:
            self._compare(book)
        last, _, head = self._again.head()
        tables = self._again.tables
        return AuditReport(
            self._again.terms, last + 1, head, tables.accounts(), tables.supply(), tuple(self._problems[:MAX_PROBLEMS])
        )

    def _check(self, record: Record) -> bool:
        """Whether the record holds: after one that does not, nothing does."""
        try:
            with self._again.transaction():
                again = self._again.append(record.order, record.time_ms, lambda _: record.signature)
        except InvalidRequest as error:
            self._problems.append(f"entry {record.number} is against the rules: {error}")
            return False
        wrong = [name for name in ("number", "time_ms", "postings", "previous") if
                 getattr(record, name) != getattr(again, name)]  # fmt: skip
        self._problems += [f"entry {record.number} has another {name} than its order makes" for name in wrong]
        keeper = self._again.terms.keeper
        if record.keeper != keeper:
            self._problems.append(f"entry {record.number} is not signed by the keeper, {format_address(keeper)}")
        if sum(line.amount for line in record.postings):
            self._problems.append(f"entry {record.number} has postings that do not add up to 0")
        return not self._problems

    def _check_sums(self) -> None:
        supply, accounts = self._again.tables.supply(), self._again.tables.accounts()
        if sum(account.total for account in accounts.values()) != supply.minted - supply.burned:
            self._problems.append("the accounts' sum is not what was minted less what was burned")
        self._problems += [
            f"{format_address(address)} owns less than nothing" for address, account in accounts.items()
            if min(account.available, account.escrowed, account.staked, account.unbonding) < 0
        ]  # fmt: skip

    def _compare(self, book: Book) -> None:
        for ours, theirs in zip_longest(self._again.dump(), book.dump()):
            if ours != theirs:
                table, row = theirs or ours
                self._problems.append(f"table {table} is not what the entries amount to: {_words(row)}")


def _words(row: tuple) -> str:
    return ", ".join(str(value.hex() if isinstance(value, bytes) else value)[:80] for value in row)
