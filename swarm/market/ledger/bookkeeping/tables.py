"""What a book amounts to at its end: balances, channels, stake. An index of the entries, rebuilt from them in audits.

Everything here runs inside the transaction that also writes the entry, so that an operation is done as a whole.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from swarm.market.ledger.ledger import Account, Channel, Posting, Supply

SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    address BLOB PRIMARY KEY, available INTEGER NOT NULL, escrowed INTEGER NOT NULL, staked INTEGER NOT NULL,
    unbonding INTEGER NOT NULL, CHECK (min(available, escrowed, staked, unbonding) >= 0)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outside (bucket TEXT PRIMARY KEY, amount INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS channel (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, payer BLOB NOT NULL, payee BLOB NOT NULL,
    deposit INTEGER NOT NULL, paid INTEGER NOT NULL, closes_at INTEGER NOT NULL, is_closed INTEGER NOT NULL,
    CHECK (0 <= paid AND paid <= deposit)
);
CREATE INDEX IF NOT EXISTS channel_payer ON channel (payer);
CREATE INDEX IF NOT EXISTS channel_payee ON channel (payee);
CREATE TABLE IF NOT EXISTS unbonding (
    number INTEGER PRIMARY KEY AUTOINCREMENT, address BLOB NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0),
    release_s INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS unbonding_address ON unbonding (address);
CREATE TABLE IF NOT EXISTS done (what TEXT NOT NULL, id BLOB NOT NULL, PRIMARY KEY (what, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commitment (
    epoch INTEGER, address BLOB, digest BLOB NOT NULL, payload BLOB, PRIMARY KEY (epoch, address)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS touched (address BLOB, number INTEGER, PRIMARY KEY (address, number)) WITHOUT ROWID;
"""
TABLES = ("account", "outside", "channel", "unbonding", "done", "commitment", "touched")
_BUCKETS = [field.name for field in fields(Account)]


class Tables:
    """Reads and writes through one connection, and knows no rules."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database

    @staticmethod
    def create(database: sqlite3.Connection) -> None:
        for statement in SCHEMA.split(";"):  # executescript would commit what the caller has begun
            database.execute(statement)

    # --- accounts ----------------------------------------------------------------------------------------------------

    def account(self, address: bytes) -> Account:
        row = self._row("SELECT available, escrowed, staked, unbonding FROM account WHERE address = ?", address)
        return Account(*row) if row else Account()

    def accounts(self) -> dict[bytes, Account]:
        rows = self._database.execute("SELECT * FROM account ORDER BY address")
        return {address: Account(*buckets) for address, *buckets in rows}

    def supply(self) -> Supply:
        outside = dict(self._database.execute("SELECT bucket, amount FROM outside"))
        return Supply(-outside.get("minted", 0), outside.get("burned", 0))

    def add(self, line: Posting) -> int:
        """Carry out one line of an entry; returns what there is now, which must not stay if it is negative."""
        if line.bucket not in _BUCKETS:
            self._database.execute(
                "INSERT INTO outside VALUES (?, ?) "
                "ON CONFLICT (bucket) DO UPDATE SET amount = amount + excluded.amount",
                (line.bucket, line.amount),
            )
            return 0
        before = self.account(line.address)
        balance: int = getattr(before, line.bucket) + line.amount
        if balance >= 0:
            after = replace(before, **{line.bucket: balance})
            row = (line.address, after.available, after.escrowed, after.staked, after.unbonding)
            self._database.execute("INSERT OR REPLACE INTO account VALUES (?, ?, ?, ?, ?)", row)
        return balance

    # --- channels ----------------------------------------------------------------------------------------------------

    def channel(self, channel: bytes) -> Channel | None:
        found = list(self._channels("id = ?", channel))
        return found[0] if found else None

    def channels(self, payer: bytes | None, payee: bytes | None, first: int = 0, limit: int = -1) -> list[Channel]:
        """limit: how many from number `first` of them on; -1: all."""
        wanted = {column: one for column, one in (("payer", payer), ("payee", payee)) if one is not None}
        condition = " AND ".join(f"{column} = ?" for column in wanted) or "TRUE"
        return list(self._channels(condition, *wanted.values(), limit=limit, offset=first))

    def put_channel(self, channel: Channel) -> None:
        """A new one, or what has become of it."""
        self._database.execute(
            "INSERT INTO channel (id, payer, payee, deposit, paid, closes_at, is_closed) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET deposit = excluded.deposit, paid = excluded.paid, "
            "closes_at = excluded.closes_at, is_closed = excluded.is_closed",
            (channel.id, channel.payer, channel.payee, channel.deposit, channel.paid, channel.closes_at,
             channel.is_closed),
        )  # fmt: skip

    def _channels(self, condition: str, *values: bytes, limit: int = -1, offset: int = 0) -> Iterator[Channel]:
        sql = f"SELECT id, payer, payee, deposit, paid, closes_at, is_closed FROM channel WHERE {condition}"
        query = f"{sql} ORDER BY number LIMIT ? OFFSET ?"
        for row in self._database.execute(query, (*values, limit, offset)):
            id, payer, payee, deposit, paid, closes_at, is_closed = row
            yield Channel(id, payer, payee, deposit, paid, closes_at, bool(is_closed))

    # --- stake -------------------------------------------------------------------------------------------------------

    def add_unbonding(self, address: bytes, amount: int, release_s: int) -> None:
        sql = "INSERT INTO unbonding (address, amount, release_s) VALUES (?, ?, ?)"
        self._database.execute(sql, (address, amount, release_s))

    def take_released(self, address: bytes, now_s: int) -> int:
        """Remove what may be withdrawn by now; returns how much that was."""
        condition = "FROM unbonding WHERE address = ? AND release_s <= ?"
        amount: int = self._database.execute(
            f"SELECT coalesce(sum(amount), 0) {condition}", (address, now_s)
        ).fetchone()[0]
        self._database.execute(f"DELETE {condition}", (address, now_s))
        return amount

    def take_unbonding(self, address: bytes, amount: int) -> None:
        """Remove so much of it, which there must be, from what would be free first."""
        rows = self._database.execute(
            "SELECT number, amount FROM unbonding WHERE address = ? ORDER BY release_s, number", (address,)
        ).fetchall()
        for number, there in rows:
            taken = min(there, amount)
            amount -= taken
            if taken == there:
                self._database.execute("DELETE FROM unbonding WHERE number = ?", (number,))
            elif taken:
                self._database.execute("UPDATE unbonding SET amount = amount - ? WHERE number = ?", (taken, number))

    def unbonding(self, address: bytes) -> list[tuple[int, int]]:
        """What is on its way back: amounts, and the Unix times from which they may be withdrawn."""
        sql = "SELECT amount, release_s FROM unbonding WHERE address = ? ORDER BY release_s, number"
        return self._database.execute(sql, (address,)).fetchall()

    # --- what happens once -------------------------------------------------------------------------------------------

    def is_first(self, what: str, id: bytes) -> bool:
        """Whether this was not done before; from now on it was."""
        return self._database.execute("INSERT OR IGNORE INTO done VALUES (?, ?)", (what, id)).rowcount == 1

    def last_ended(self) -> int:
        """The latest epoch of which the commitments are closed; -1 before any is."""
        row = self._row("SELECT id FROM done WHERE what = 'end_commits' ORDER BY id DESC LIMIT 1")
        return int.from_bytes(row[0]) if row else -1

    def commit(self, epoch: int, address: bytes, digest: bytes) -> bool:
        """Whether it is the first of this address in this epoch."""
        sql = "INSERT OR IGNORE INTO commitment VALUES (?, ?, ?, NULL)"
        return self._database.execute(sql, (epoch, address, digest)).rowcount == 1

    def committed(self, epoch: int, address: bytes) -> tuple[bytes, bytes | None] | None:
        """The digest, and what was revealed."""
        found: tuple[bytes, bytes | None] | None = self._row(
            "SELECT digest, payload FROM commitment WHERE epoch = ? AND address = ?", epoch, address
        )
        return found

    def reveal(self, epoch: int, address: bytes, payload: bytes) -> None:
        sql = "UPDATE commitment SET payload = ? WHERE epoch = ? AND address = ?"
        self._database.execute(sql, (payload, epoch, address))

    def touch(self, address: bytes, number: int) -> None:
        self._database.execute("INSERT OR IGNORE INTO touched VALUES (?, ?)", (address, number))

    def _row(self, sql: str, *values: bytes | int) -> Any:
        """The first, of the types that the schema says, or None."""
        return self._database.execute(sql, values).fetchone()
