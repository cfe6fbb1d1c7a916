"""A book in its file, which may be moved away, replaced, or on a disk that fails for a while."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

from swarm.errors import PeerUnreachable
from swarm.market.ledger.book import LAYOUT, Book
from swarm.storage.condition import Condition
from swarm.storage.database import file_id, open_database

BUSY_S = 30.0  # how long to wait for other processes that write
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)  # the file itself is as it was


class BookFile:
    """One connection to it, made anew when the file has failed or is another one. Safe to use from several threads."""

    def __init__(self, path: Path | None, makes: bool = False):
        """path: None for a book in memory. makes: the file, if there is none; and the log hears of its condition. Raises
        SwarmError, PeerUnreachable."""
        self._path, self._lock = path, RLock()
        meanwhile = "what is asked of it is refused until then"
        self._condition = Condition(LAYOUT.what, path, meanwhile=meanwhile) if path and makes else None
        self._ledger: bytes | None = None  # id of the ledger in it, once that was seen
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        with self._translated():
            self._connect(makes)

    @contextmanager
    def using(self) -> Iterator[Book]:
        """The book, which is this thread's until the end. Raises PeerUnreachable if the file fails, also inside."""
        with self._lock, self._translated():
            if self._path and (self._database is None or file_id(self._path) != self._file):
                self._let_go()
                self._connect()
            yield self._book
            if self._ledger is None and self._book.terms:
                self._ledger = self._book.terms.id

    def shut(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._let_go()

    def _connect(self, makes: bool = False) -> None:
        """To the file that is there now: what goes into one that was moved away is seen by nobody."""
        found = file_id(self._path) if self._path else None
        if self._path and not found and not makes:
            raise self._failed("is gone from there; put it back")
        self._database = open_database(self._path, LAYOUT, is_durable=True, busy_s=BUSY_S, makes=makes, creates=False)
        self._file = file_id(self._path) if self._path else None
        self._book = Book(self._database)
        if self._ledger and (self._book.terms is None or self._book.terms.id != self._ledger):
            self._let_go()
            raise self._failed("is another one than it was; put that back")

    def _let_go(self) -> None:
        database, self._database = self._database, None
        if database:
            with suppress(sqlite3.Error):
                database.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._path and getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
                self._let_go()
            raise self._failed(f"cannot be used: {error}") from error
        else:
            if self._condition:
                self._condition.written(is_all=True)

    def _failed(self, why: str) -> PeerUnreachable:
        if self._condition:
            self._condition.failed(f"it {why}")
        return PeerUnreachable(f"the ledger in {self._path or 'memory'} {why}")
