"""What tests of writing write: names, one a row."""

import sqlite3
from contextlib import closing
from pathlib import Path

from swarm.storage.database import Layout

THINGS = Layout("things", "CREATE TABLE IF NOT EXISTS thing (name TEXT UNIQUE)")


def add(name: str) -> "object":
    return lambda database: database.execute("INSERT INTO thing VALUES (?)", (name,)).rowcount == 1


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM thing ORDER BY rowid")]
