"""Receipts on disk: what a server can show that it did, and a client that it got."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarm.database import open_database
from swarm.errors import InvalidRequest, SwarmError
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.session_id import MAX_AGE_S, MAX_SKEW_S

logger = logging.getLogger(__name__)

MAX_RECEIPTS = 200_000  # about 120 MB; the oldest give way
PRUNE_EVERY = 1_000

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS receipts (
        session BLOB, start INTEGER, attempt INTEGER, number INTEGER, data BLOB,
        PRIMARY KEY (session, start, attempt, number)
    );
    CREATE TABLE IF NOT EXISTS openings (
        session BLOB, start INTEGER, attempt INTEGER, PRIMARY KEY (session, start, attempt)
    ) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class StoredSession:
    session: bytes
    begun_s: float  # since 1970
    receipts: int


class ReceiptStore:
    """A SQLite file that several processes may share. Writing happens in a thread, many receipts at a time."""

    def __init__(self, path: Path | None, max_receipts: int = MAX_RECEIPTS):
        """path: None: what is kept ends with this process. Raises SwarmError if `path` cannot be used."""
        self.path, self._max_receipts = path, max_receipts
        self._database = self._connect()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="receipts")
        self._waiting: deque[SignedReceipt] = deque()
        self._since_prune = 0

    def _connect(self) -> sqlite3.Connection:
        return open_database(self.path, "receipts", _SCHEMA)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        if self.path is None:
            yield self._database
            return
        with closing(self._connect()) as database:
            yield database

    def add(self, receipt: SignedReceipt) -> None:
        """Keep `receipt`. Does not wait for the disk."""
        self._waiting.append(receipt)
        if len(self._waiting) == 1:
            self._thread.submit(self._flush)

    def remember_opening(self, session: bytes, start: int, attempt: int) -> bool:
        """Whether this opening of a session is new; from now on it is not. On disk when this returns."""
        try:
            self._database.execute("INSERT INTO openings VALUES (?, ?, ?)", (session, start, attempt - 2**63))
        except sqlite3.IntegrityError:
            return False
        return True

    def sessions(self) -> list[StoredSession]:
        """What is kept, the newest first."""
        rows = self._database.execute("SELECT session, COUNT(*) FROM receipts GROUP BY session ORDER BY session DESC")
        return [StoredSession(session, int.from_bytes(session[:6]) / 1000, count) for session, count in rows]

    def receipts(self, session: bytes) -> Iterator[SignedReceipt]:
        """Of one session, by hop. Raises InvalidRequest if the file was tampered with."""
        query = "SELECT data FROM receipts WHERE session = ? ORDER BY start, attempt, number"
        for (data,) in self._database.execute(query, (session,)):
            yield SignedReceipt.decode(data)

    def openings(self, session: bytes) -> Iterator[SignedReceipt]:
        """The first receipt of every hop of a session. Raises InvalidRequest if the file was tampered with."""
        query = "SELECT data FROM receipts WHERE session = ? AND number = 0 ORDER BY start, attempt"
        for (data,) in self._database.execute(query, (session,)):
            yield SignedReceipt.decode(data)

    def find(self, prefix: str) -> bytes:
        """The session whose id begins with these hex digits. Raises InvalidRequest if there is not exactly one."""
        found = [kept.session for kept in self.sessions() if kept.session.hex().startswith(prefix.lower())]
        if len(found) != 1:
            where = self.path or "memory"
            raise InvalidRequest(f"{len(found)} sessions in {where} begin with {prefix!r}; give more of its digits")
        return found[0]

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._thread.shutdown(wait=True)
        self._flush()
        self._database.close()

    def _flush(self) -> None:
        batch = []
        while self._waiting:  # what is added from now on is taken too, or is the first of the next round
            batch.append(self._waiting.popleft())
        try:
            with self._writing() as database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?)", map(_row, batch))
                self._prune(database, len(batch))
                database.execute("COMMIT")
        except (sqlite3.Error, SwarmError) as error:
            logger.error("%d receipts could not be kept: %s", len(batch), error)

    def _prune(self, database: sqlite3.Connection, added: int) -> None:
        self._since_prune += added
        if self._since_prune < PRUNE_EVERY:
            return
        self._since_prune = 0
        excess = database.execute("SELECT COUNT(*) - ? FROM receipts", (self._max_receipts,)).fetchone()[0]
        if excess > 0:  # session ids begin with the time
            oldest = "SELECT rowid FROM receipts ORDER BY session LIMIT ?"
            database.execute(f"DELETE FROM receipts WHERE rowid IN ({oldest})", (excess,))
        # Older names are refused as such, so that they need not be remembered.
        horizon_ms = int((time.time() - MAX_AGE_S - MAX_SKEW_S) * 1000)
        database.execute("DELETE FROM openings WHERE session < ?", (max(horizon_ms, 0).to_bytes(6),))


def _row(signed: SignedReceipt) -> tuple[bytes, int, int, int, bytes]:
    receipt = signed.receipt
    terms = receipt.terms
    # SQLite's integers are signed.
    return terms.session, terms.start, terms.attempt - 2**63, receipt.index, signed.encode()
