"""SQLite files, all opened in one way: private to their owner, shared by several of its processes, whole after a crash.

A file keeps the version of its layout (PRAGMA user_version); those from before that have 0, which is the first one.
Whether it is a file of that layout at all, its tables' columns tell.
"""

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from swarm.errors import SwarmError

BUSY_S = 10.0  # how long to wait for another process that writes
_RETRY_S = 0.02
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_NO_ROOM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)  # for what is beside the file

_Columns = tuple[tuple[str, int], ...]  # name, and place in the primary key or 0


@dataclass(frozen=True)
class Layout:
    """What is in a file."""

    what: str  # in words, as in "payments"
    schema: str = ""  # statements that make what is missing
    version: int = 0
    upgrades: Mapping[int, Sequence[str]] = field(default_factory=dict)  # from this version to the next: statements
    remedy: str = "move it away"  # what to do if the file is no good


def open_database(
    path: Path | None, layout: Layout, *, is_durable: bool = False, busy_s: float = BUSY_S, makes: bool = True,
    creates: bool = True,
) -> sqlite3.Connection:  # fmt: skip
    """A connection in autocommit mode, for any thread; the file is made if there is none, and brought up to date if it
    is of an older version.

    path: None for a database in memory. is_durable: what is committed is on disk at once, and not only out of this
    process. makes: the file, where there is none. creates: the tables that are missing. Raises SwarmError in words
    that say which file it is: for one that cannot be used, is damaged, of a newer version, or something else.
    """
    try:
        if path and makes:
            _make_private(path)
        where = f"{path.absolute().as_uri()}?mode=rw" if path else ":memory:"
        database = sqlite3.connect(where, busy_s, isolation_level=None, check_same_thread=False, uri=True)
        try:
            _bring_up(database, layout, path)
            _switch_to_wal(database, busy_s)
            database.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
            if makes and creates:
                database.executescript(layout.schema)
        except BaseException:
            database.close()
            raise
        return database
    except (sqlite3.Error, OSError) as error:
        raise _failure(error, layout, path) from error


def read_database(path: Path, layout: Layout, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """A connection through which nothing can be changed, to a file that is there; it needs no room on the disk where
    nobody has the file open. Raises SwarmError."""
    try:
        try:
            return _connect_to_read(path, layout, busy_s, "mode=ro")
        except sqlite3.OperationalError as error:
            # Readers share an index of the file's log, which is made for the first: there is no room for it. A file
            # without a log has all in itself, and whoever had it open would have the index as well.
            if not (_primary_code(error) in _NO_ROOM and _has_no_log(path)):
                raise
        return _connect_to_read(path, layout, busy_s, "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise _failure(error, layout, path) from error


def open_to_read(path: Path, layout: Layout, busy_s: float, *, may_be_missing: bool = False) -> sqlite3.Connection:
    """The same; but what has not all tables of `layout` is brought up to date first. may_be_missing: where there is no
    file, or an empty one, nothing is kept. Raises SwarmError."""
    if may_be_missing and not (path.exists() and path.stat().st_size):
        return open_database(None, layout)
    database = read_database(path, layout, busy_s)
    try:
        is_current = _version(database, layout, path) == layout.version
        if is_current and _tables(database).keys() >= _expected(layout.schema).keys():
            return database
    except sqlite3.Error as error:
        database.close()
        raise _failure(error, layout, path) from error
    database.close()
    return open_database(path, layout, is_durable=True, busy_s=busy_s, makes=may_be_missing)


def _connect_to_read(path: Path, layout: Layout, busy_s: float, how: str) -> sqlite3.Connection:
    """Raises SwarmError, sqlite3.Error."""
    where = f"{path.absolute().as_uri()}?{how}"
    database = sqlite3.connect(where, busy_s, isolation_level=None, check_same_thread=False, uri=True)
    try:
        _version(database, layout, path)
        _check_tables(database, layout, path)
    except BaseException:
        database.close()
        raise
    return database


def _has_no_log(path: Path) -> bool:
    beside = (path.with_name(path.name + end) for end in ("-wal", "-journal"))
    return not any(log.exists() and log.stat().st_size for log in beside)


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def file_id(path: Path) -> tuple[int, int] | None:
    """Which file is at `path` now: its device and number there; None if there is none, or its disk does not say."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _failure(error: Exception, layout: Layout, path: Path | None) -> SwarmError:
    code, reason = getattr(error, "sqlite_errorcode", 0), str(error)
    if code in _DAMAGED:
        reason = f"it is damaged ({error}); {layout.remedy}"
    elif code in _FULL:
        reason = f"its disk is full ({error}); make room"
    return SwarmError(f"the {layout.what} in {path or 'memory'} cannot be used: {reason}")


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file that is there is not opened: closing it would drop the locks of all this process's connections to it, and
    # others would write where they read (sqlite.org/howtocorrupt.html, 2.2).
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _bring_up(database: sqlite3.Connection, layout: Layout, path: Path | None) -> None:
    """To the version of `layout`, as a whole or not at all; nothing is changed in what is no file of ours."""
    if _version(database, layout, path) < layout.version:
        database.execute("BEGIN IMMEDIATE")
        try:
            found = _version(database, layout, path)  # another process may have been faster
            for version in range(found, layout.version) if _tables(database) else ():
                for statement in layout.upgrades.get(version, ()):
                    database.execute(statement)
            _check_tables(database, layout, path)
            database.execute(f"PRAGMA user_version={layout.version}")
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise
    _check_tables(database, layout, path)


def _version(database: sqlite3.Connection, layout: Layout, path: Path | None) -> int:
    """Of the file's layout. Raises SwarmError if it is a later one."""
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    if found > layout.version:
        raise SwarmError(
            f"the {layout.what} in {path} were written by a newer version of this software; update this one"
        )
    return found


def _check_tables(database: sqlite3.Connection, layout: Layout, path: Path | None) -> None:
    """Raises SwarmError if there are tables, and not those of `layout`; one that is missing will be made."""
    found = _tables(database)
    if not found or not layout.schema:
        return
    expected = _expected(layout.schema)
    wrong = [table for table, columns in expected.items() if found.get(table, columns) != columns]
    if not wrong and found.keys() & expected.keys():
        return
    reason = f"its table {wrong[0]} has other columns than this version's" if wrong else "it is something else"
    raise SwarmError(f"the {layout.what} in {path} cannot be used: {reason}; {layout.remedy}")


@lru_cache(16)
def _expected(schema: str) -> dict[str, _Columns]:
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(schema)
        return _tables(model)


def _tables(database: sqlite3.Connection) -> dict[str, _Columns]:
    names = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    info = "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid"
    return {name: tuple(database.execute(info, (name,))) for (name,) in names}


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
