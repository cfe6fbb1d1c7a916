"""SQLite files, all opened in one way: private to their owner, shared by several of its processes, whole after a crash.

A file keeps the version of its schema (PRAGMA user_version); those from before that have 0, which is the first one.
"""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from swarm.errors import SwarmError

BUSY_S = 10.0  # how long to wait for another process that writes
_RETRY_S = 0.02
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_database(
    path: Path | None, what: str, schema: str = "", *, version: int = 0, is_durable: bool = False,
    busy_s: float = BUSY_S, remedy: str = "move it away",
) -> sqlite3.Connection:  # fmt: skip
    """A connection in autocommit mode, for any thread; the file is made if there is none.

    path: None for a database in memory. what: is in it, as in "payments". schema: statements that make what is missing.
    version: of the schema. is_durable: what is committed is on disk at once, and not only out of this process.
    remedy: what to do if the file is damaged. Raises SwarmError, in words that say so and which file it is.
    """
    try:
        if path:
            _make_private(path)
        database = sqlite3.connect(path or ":memory:", busy_s, isolation_level=None, check_same_thread=False)
        try:
            found = _version(database, version, what, path)
            _switch_to_wal(database, busy_s)
            database.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
            database.executescript(schema)
            if found < version:
                database.execute(f"PRAGMA user_version={version}")
        except BaseException:
            database.close()
            raise
        return database
    except (sqlite3.Error, OSError) as error:
        raise _failure(error, what, path, remedy) from error


def read_database(path: Path, what: str, *, version: int = 0, remedy: str = "move it away") -> sqlite3.Connection:
    """A connection through which nothing can be changed, to a file that is there. Raises SwarmError."""
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", BUSY_S, isolation_level=None, uri=True)
        _version(database, version, what, path)
        return database
    except sqlite3.Error as error:
        raise _failure(error, what, path, remedy) from error


def _failure(error: Exception, what: str, path: Path | None, remedy: str) -> SwarmError:
    is_damaged = getattr(error, "sqlite_errorcode", 0) in _DAMAGED
    reason = f"it is damaged ({error}); {remedy}" if is_damaged else str(error)
    return SwarmError(f"the {what} in {path or 'memory'} cannot be used: {reason}")


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file that is there is not opened: closing it would drop the locks of all this process's connections to it, and
    # others would write where they read (sqlite.org/howtocorrupt.html, 2.2).
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _version(database: sqlite3.Connection, version: int, what: str, path: Path | None) -> int:
    """Of the schema in it. Raises SwarmError if it is a later one than `version`."""
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    if found > version:
        raise SwarmError(f"the {what} in {path} were written by a newer version of this software; update this one")
    return found


def _switch_to_wal(database: sqlite3.Connection, busy_s: float) -> None:
    """Processes that do this to a new file at once get in each other's way without SQLite's waiting for it."""
    give_up_s = time.monotonic() + busy_s
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(_RETRY_S)
