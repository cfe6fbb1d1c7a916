"""A connection that follows its file: what is written into one that was moved away is seen by nobody."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from swarm.errors import DiskTrouble, SwarmError
from swarm.storage.database import BUSY_S, Layout, file_id, open_database

_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)  # the file itself is as it was


class FileConnection:
    """To one database, made anew when its file has failed, or is another one. For one thread at a time."""

    def __init__(
        self,
        path: Path | None,
        layout: Layout,
        *,
        busy_s: float = BUSY_S,
        makes: bool = True,
        creates: bool = True,
        is_wanted: bool = True,
        check: Callable[[sqlite3.Connection], None] = lambda database: None,
    ):
        """path: None for one in memory. busy_s: how long to wait for other processes that write. makes, creates: at the
        first time, see open_database. is_wanted: at once, and not only when it is asked for. check: raises DiskTrouble
        for a file in the place of this one that is no good."""
        self._path, self._layout, self._busy_s, self._check = path, layout, busy_s, check
        self._database: sqlite3.Connection | None = self._open(makes, creates) if is_wanted else None
        self._file = self._found()

    def get(self) -> sqlite3.Connection:
        """It, to the file that is there now. Raises DiskTrouble, without its path, if there is none, or it cannot be
        used; sqlite3.Error."""
        if self._database is None or self._found() != self._file:
            self.close()
            found = self._found()
            database = self._reopen()
            try:
                self._check(database)
            except BaseException:
                database.close()
                raise
            self._database, self._file = database, found
        return self._database

    def failed(self, error: Exception) -> None:
        """A statement has: a connection to a disk that went away does not come back with it."""
        if self._path and getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
            self.close()

    def close(self) -> None:
        """Let go of the file, until it is wanted again."""
        database, self._database = self._database, None
        if database:
            with suppress(sqlite3.Error):
                database.close()

    def _found(self) -> tuple[int, int] | None:
        return file_id(self._path) if self._path else None

    def _reopen(self) -> sqlite3.Connection:
        if self._path and self._found() is None:
            raise DiskTrouble("the file is gone; put it back, or start again without it")
        try:
            database = self._open(makes=False, creates=False)
        except SwarmError as error:
            raise DiskTrouble(_reason(error)) from error
        if self._path and database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone() is None:
            database.close()
            raise DiskTrouble("the file is empty; put back what was in it, or start again without it")
        return database

    def _open(self, makes: bool, creates: bool) -> sqlite3.Connection:
        return open_database(
            self._path, self._layout, is_durable=True, busy_s=self._busy_s, makes=makes, creates=creates
        )


def _reason(error: SwarmError) -> str:
    """Why a file could not be opened, without its path."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.strerror or "its disk fails"
    return str(cause) if cause else "what is in its place is no file of this version's"
