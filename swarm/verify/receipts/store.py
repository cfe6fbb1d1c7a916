"""Receipts on disk: what a server can show that it did, and a client that it got."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swarm.clock import now_ms
from swarm.errors import InvalidRequest
from swarm.storage.database import Layout
from swarm.storage.writer import Writer
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.session_id import MAX_AGE_S, MAX_SKEW_S
from swarm.wire.transport import OPENING_S

MAX_RECEIPTS = 200_000  # about 120 MB; the oldest give way
PRUNE_EVERY = 1_000
OPENINGS_LOOKED_AT = 2_000  # for the peers that this user knows

_LAYOUT = Layout(
    "receipts",
    """
    CREATE TABLE IF NOT EXISTS receipts (
        session BLOB, start INTEGER, attempt INTEGER, number INTEGER, data BLOB,
        PRIMARY KEY (session, start, attempt, number)
    );
    CREATE TABLE IF NOT EXISTS openings (
        session BLOB, start INTEGER, attempt INTEGER, PRIMARY KEY (session, start, attempt)
    ) WITHOUT ROWID;
    """,
)
_ADD = "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?)"
_REMEMBER = "INSERT OR IGNORE INTO openings VALUES (?, ?, ?)"
_NEWEST_OPENINGS = "SELECT data FROM receipts WHERE number = 0 ORDER BY session DESC LIMIT ?"
_SESSIONS = "SELECT session, COUNT(*) FROM receipts GROUP BY session ORDER BY session DESC"


@dataclass(frozen=True)
class StoredSession:
    session: bytes
    begun_s: float  # since 1970
    receipts: int


class ReceiptStore:
    """A SQLite file that several processes may share. Writing happens in a thread, many receipts at a time; what the
    disk does not take waits in memory until it does."""

    def __init__(self, path: Path | None, max_receipts: int = MAX_RECEIPTS, reads_only: bool = False):
        """path: None: what is kept ends with this process. reads_only: see Writer. Raises SwarmError if it cannot be
        used."""
        self.path, self._max_receipts = path, max_receipts
        self._writer = Writer(path, _LAYOUT, reads_only=reads_only)
        self._since_prune = 0

    def __repr__(self) -> str:
        return f"<ReceiptStore {self.path or 'in memory'}>"

    def trouble(self) -> str:
        """Why nothing new should be signed now: the disk does not take it; empty: it does."""
        return self._writer.trouble()

    def add(self, receipt: SignedReceipt) -> None:
        """Keep `receipt`. Does not wait for the disk."""
        self._writer.put(lambda database: database.execute(_ADD, _row(receipt)), what="receipt")
        self._since_prune += 1
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            self._writer.put(partial(_prune, max_receipts=self._max_receipts))

    async def remember_opening(self, session: bytes, start: int, attempt: int) -> bool:
        """Whether this opening of a session is new; from now on it is not. On disk when this returns. Raises
        DiskTrouble if the disk does not take it."""
        row = session, start, attempt - 2**63
        return await self._writer.ask(
            lambda database: database.execute(_REMEMBER, row).rowcount == 1, "opening", within_s=OPENING_S
        )

    def sessions(self) -> list[StoredSession]:
        """What is kept, the newest first."""
        with self._reading() as database:
            rows = database.execute(_SESSIONS).fetchall()
        return [StoredSession(session, int.from_bytes(session[:6]) / 1000, count) for session, count in rows]

    def receipts(self, session: bytes) -> Iterator[SignedReceipt]:
        """Of one session, by hop. Raises InvalidRequest if the file was tampered with."""
        yield from self._read("SELECT data FROM receipts WHERE session = ? ORDER BY start, attempt, number", session)

    def openings(self, session: bytes) -> Iterator[SignedReceipt]:
        """The first receipt of every hop of a session. Raises InvalidRequest if the file was tampered with."""
        yield from self._read(
            "SELECT data FROM receipts WHERE session = ? AND number = 0 ORDER BY start, attempt", session
        )

    def peers(self) -> set[str]:
        """Ids of the peers that signed for the newest openings kept here. Raises InvalidRequest if the file was
        tampered with."""
        with self._reading() as database:
            rows = database.execute(_NEWEST_OPENINGS, (OPENINGS_LOOKED_AT,)).fetchall()
        return {SignedReceipt.decode(data).peer_id for (data,) in rows}

    def find(self, prefix: str) -> bytes:
        """The session whose id begins with these hex digits. Raises InvalidRequest if there is not exactly one."""
        found = [kept.session for kept in self.sessions() if kept.session.hex().startswith(prefix.lower())]
        if len(found) != 1:
            where = self.path or "memory"
            raise InvalidRequest(f"{len(found)} sessions in {where} begin with {prefix!r}; give more of its digits")
        return found[0]

    def flush(self) -> bool:
        """Wait until what was added is on disk, but not for one that fails; whether it is."""
        return self._writer.flush()

    def close(self) -> None:
        """Write what waits, and let go of the file. Waits, but not for long for a disk that takes nothing."""
        self._writer.close()

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """With what was added before, if the disk takes it."""
        self._writer.flush()
        return self._writer.reading()

    def _read(self, query: str, session: bytes) -> Iterator[SignedReceipt]:
        with self._reading() as database:
            rows = database.execute(query, (session,)).fetchall()  # who stops half-way must not keep the writer out
        for (data,) in rows:
            yield SignedReceipt.decode(data)


def _prune(database: sqlite3.Connection, max_receipts: int) -> None:
    excess = database.execute("SELECT COUNT(*) - ? FROM receipts", (max_receipts,)).fetchone()[0]
    if excess > 0:  # session ids begin with the time
        oldest = "SELECT rowid FROM receipts ORDER BY session LIMIT ?"
        database.execute(f"DELETE FROM receipts WHERE rowid IN ({oldest})", (excess,))
    # Older names are refused as such, so that they need not be remembered.
    horizon_ms = now_ms() - (MAX_AGE_S + MAX_SKEW_S) * 1000
    database.execute("DELETE FROM openings WHERE session < ?", (max(horizon_ms, 0).to_bytes(6),))


def _row(signed: SignedReceipt) -> tuple[bytes, int, int, int, bytes]:
    receipt = signed.receipt
    terms = receipt.terms
    # SQLite's integers are signed.
    return terms.session, terms.start, terms.attempt - 2**63, receipt.index, signed.encode()
