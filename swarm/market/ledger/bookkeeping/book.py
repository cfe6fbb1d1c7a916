"""The book of an embedded ledger: its entries in an SQL database, and with each, what it changes in the tables."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from swarm.errors import LedgerRefusal, SwarmError
from swarm.market.ledger.bookkeeping.orders import SignedOrder
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.bookkeeping.rules import Step, Terms, apply
from swarm.market.ledger.bookkeeping.tables import SCHEMA, TABLES, Tables
from swarm.storage.database import Layout

NOTHING = bytes(32)
_PAGE = 256  # entries that are read at a time
_ENTRIES = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, order_hash BLOB NOT NULL UNIQUE, hash BLOB NOT NULL,
    data BLOB NOT NULL
)
"""
# An entry is final: whoever tries to change one through SQL is told so.
_FINAL = """
CREATE TRIGGER IF NOT EXISTS entry_{0} BEFORE {0} ON entry BEGIN SELECT raise(ABORT, 'entries are final'); END
"""
LAYOUT = Layout("ledger", f"{_ENTRIES};{SCHEMA}", remedy="use a backup")

Sign = Callable[[bytes], bytes]  # the keeper's signature over a hash


class Book:
    """Used by one thread at a time. Every method raises sqlite3.Error for a file that is locked, full or broken."""

    def __init__(self, database: sqlite3.Connection):
        """database: in autocommit mode."""
        self.database = database
        self.tables = Tables(database)
        self._terms: Terms | None = None

    @property
    def terms(self) -> Terms | None:
        """What its first entry fixes; None while there is none."""
        if self._terms is None:
            for record in self.records(stop=1):
                self._terms = Terms.of(record.order)
        return self._terms

    def create(self) -> None:
        """The tables, where they are missing. In a transaction."""
        self.database.execute(_ENTRIES)
        for change in ("UPDATE", "DELETE"):
            self.database.execute(_FINAL.format(change))
        Tables.create(self.database)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is done as a whole or not at all, and no other process writes meanwhile."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.database.execute("COMMIT")
        except BaseException:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Inside, everything is read as it is now, whatever others write."""
        self.database.execute("BEGIN")
        try:
            yield
        finally:
            self.database.execute("ROLLBACK")

    def append(self, order: SignedOrder, time_ms: int, sign: Sign) -> Record:
        """Carry out `order` and write it down, in a transaction, at `time_ms` or at the time of the last entry,
        whichever is later. Raises LedgerRefusal and InvalidRequest if the rules forbid it, SwarmError if they would
        make or lose money."""
        last, last_ms, previous = self.head()
        self._check_new(order)
        time_ms = max(time_ms, last_ms)
        step = self._step(order, time_ms // 1000)
        if total := sum(line.amount for line in step.postings):
            raise SwarmError(f"the lines of a {order.order.kind} add up to {total}, and not to 0: please report this")
        unsigned = Record(last + 1, time_ms, order, tuple(step.postings), previous)
        record = Record(last + 1, time_ms, order, unsigned.postings, previous, sign(unsigned.hash))
        row = (record.number, time_ms, order.order.hash, record.hash, record.encode())
        self.database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", row)
        for address in step.touched | {line.address for line in step.postings}:
            self.tables.touch(address, record.number)
        return record

    def head(self) -> tuple[int, int, bytes]:
        """Number, time in ms, and hash of the last entry; -1, 0 and zeros if there is none."""
        sql = "SELECT number, time_ms, hash FROM entry ORDER BY number DESC LIMIT 1"
        return self.database.execute(sql).fetchone() or (-1, 0, NOTHING)

    def records(self, address: bytes | None = None, first: int = 0, stop: int | None = None) -> Iterator[Record]:
        """From number `first` up to before `stop`, all or those that touch `address`."""
        while page := self.page(address, first, _PAGE):
            for record in page:
                if stop is not None and record.number >= stop:
                    return
                yield record
            first = page[-1].number + 1

    def page(self, address: bytes | None, first: int, limit: int) -> list[Record]:
        """At most `limit` of them."""
        source = "entry" if address is None else "touched JOIN entry USING (number)"
        condition = "number >= :first" + ("" if address is None else " AND address = :address")
        sql = f"SELECT data FROM {source} WHERE {condition} ORDER BY number LIMIT :limit"
        rows = self.database.execute(sql, {"first": first, "address": address, "limit": limit}).fetchall()
        return [Record.decode(data) for (data,) in rows]

    def dump(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        """All that is in it: table and row, in an order that depends on nothing else."""
        for table in ("entry", *TABLES):
            columns = ", ".join(name for _, name, *_ in self.database.execute(f"PRAGMA table_info({table})"))
            for row in self.database.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}"):
                yield table, row

    def _check_new(self, order: SignedOrder) -> None:
        row = self.database.execute("SELECT number FROM entry WHERE order_hash = ?", (order.order.hash,)).fetchone()
        if row:
            raise LedgerRefusal(f"this order was done before, as entry {row[0]}")

    def _step(self, order: SignedOrder, now_s: int) -> Step:
        if (terms := self.terms) is None:
            return Step(self.tables, Terms.of(order), order.signer, now_s, touched={order.signer})
        return apply(self.tables, terms, order, now_s)
