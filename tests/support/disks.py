"""Files that fail as they do on disks that fail, without root."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def locked(*paths: Path) -> Iterator[None]:
    """SQLite files, as if another process wrote to them all the time."""
    others = [sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False) for path in paths]
    try:
        for other in others:
            other.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        for other in others:
            with closing(other):
                other.execute("ROLLBACK")


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """A folder with all that is in it, as if its disk had been taken out."""
    away = folder.with_name(folder.name + ".away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file grows beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
