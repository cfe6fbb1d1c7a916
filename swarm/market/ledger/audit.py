"""Auditing a ledger: everything in its book done again, in a new one, from the signed orders alone."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from swarm.errors import InvalidRequest, SwarmError
from swarm.market.ledger.bookkeeping.book import LAYOUT, Book
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.bookkeeping.rules import Terms
from swarm.market.ledger.bookkeeping.tables import Tables
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Account, Ledger, Supply
from swarm.market.ledger.ordered import OrderedLedger
from swarm.market.ledger.sqlite import SqliteLedger, connect_to_read
from swarm.storage.database import open_database

MAX_PROBLEMS = 20  # told


@dataclass(frozen=True)
class AuditReport:
    """What was found, and what the orders amount to."""

    terms: Terms | None  # None if the book is empty or does not begin as one, or a chain's
    entries: int  # that hold
    head: bytes  # hash of the last of these: compare it, or one before it, with what the keeper has signed to others
    accounts: dict[bytes, Account]
    supply: Supply
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.problems


def audit(ledger: Ledger | Path) -> AuditReport:
    """Check hash chain, signatures of orders and heads, postings and their sums, balances and supply; of a file, or a
    ledger on this machine, that its tables are what its entries amount to; of a service, that its answers are. Of a
    contract, whose chain checks orders and rules: postings, their sums, and that its answers are what they add up to.

    Raises SwarmError if it cannot be read at all.
    """
    if isinstance(ledger, Path):
        return _audit_file(ledger)
    if isinstance(ledger, SqliteLedger):
        with ledger.reading() as book, book.snapshot():
            return _Audit().run(book.records(), book)
    if isinstance(ledger, OrderedLedger):
        return _Audit().run(ledger.records(), ledger)
    return _audit_postings(ledger)


def _audit_file(path: Path) -> AuditReport:
    if not path.exists():
        raise SwarmError(f"there is no ledger in {path}")
    try:
        with closing(connect_to_read(path)) as database:
            book = Book(database)
            with book.snapshot():
                return _Audit().run(book.records(), book)
    except sqlite3.Error as error:
        raise SwarmError(f"the ledger in {path} cannot be read: {error}") from error


def _audit_postings(ledger: Ledger) -> AuditReport:
    tables, problems, count, last, head = _new_book().tables, [], 0, -1, b""
    for entry in ledger.history():
        count, last, head = count + 1, entry.number, entry.hash
        if sum(line.amount for line in entry.postings):
            problems.append(f"entry {entry.number} has postings that do not add up to 0")
        if min((tables.add(line) for line in entry.postings), default=0) < 0:
            problems.append(f"entry {entry.number} takes more than there is")
    problems += _unless_changed(ledger, last, _wrong_balances(ledger, tables))
    return AuditReport(None, count, head, tables.accounts(), tables.supply(), tuple(problems[:MAX_PROBLEMS]))


def _unless_changed(ledger: Ledger, last: int, wrong: list[str]) -> list[str]:
    """`wrong`, but nothing if there are entries after `last`: others have ordered something meanwhile."""
    return [] if any(ledger.history(first=last + 1)) else wrong


def _new_book() -> Book:
    """An empty one, in memory."""
    book = Book(open_database(None, LAYOUT, creates=False))
    book.create()
    return book


def _wrong_balances(ledger: Ledger, tables: Tables) -> list[str]:
    wrong = [
        f"another balance of {format_address(address)} than the entries amount to"
        for address, account in tables.accounts().items() if ledger.account(address) != account
    ]  # fmt: skip
    return wrong + ["another supply than the entries amount to"] * (ledger.supply() != tables.supply())


class _Audit:
    def __init__(self) -> None:
        self._again = _new_book()
        self._problems: list[str] = []

    def run(self, records: Iterable[Record], whose: Book | OrderedLedger) -> AuditReport:
        """whose: to be compared with what the records amount to."""
        try:
            for record in records:
                if not self._check(record):
                    break
        except InvalidRequest as error:
            self._problems.append(f"entry {self._again.head()[0] + 1} cannot be read: {error}")
        if self._again.terms is None and not self._problems:
            self._problems.append("the book is empty")
        self._check_sums()
        if not self._problems:
            self._problems += self._differences(whose)
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
        terms = self._again.terms
        if terms and record.keeper != terms.keeper:
            self._problems.append(f"entry {record.number} is not signed by the keeper, {format_address(terms.keeper)}")
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

    def _differences(self, whose: Book | OrderedLedger) -> list[str]:
        if isinstance(whose, OrderedLedger):
            return self._wrong_answers(whose)
        pairs = zip_longest(self._again.dump(), whose.dump())
        rows = [theirs or ours for ours, theirs in pairs if ours != theirs]
        return [f"table {table} is not what the entries amount to: {_words(row)}" for table, row in rows]

    def _wrong_answers(self, ledger: OrderedLedger) -> list[str]:
        tables, (last, _, _) = self._again.tables, self._again.head()
        wrong = _wrong_balances(ledger, tables)
        if ledger.channels() != tables.channels(None, None):
            wrong.append("other channels than the entries amount to")
        return _unless_changed(ledger, last, wrong)


def _words(row: tuple[object, ...]) -> str:
    return ", ".join(str(value.hex() if isinstance(value, bytes) else value)[:80] for value in row)
