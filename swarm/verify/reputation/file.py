"""The reputation store's SQLite file. Several processes may have it open; each takes over what others wrote."""

import json
import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from swarm.errors import DiskTrouble, SwarmError
from swarm.storage.connection import FileConnection
from swarm.storage.database import Layout, read_database
from swarm.verify.reputation.standing import STRANGER, Standing

MAX_PEERS = 10_000  # remembered; of more, those that were dealt with longest ago are forgotten
_BUSY_S = 5.0
_OVERLAP_S = 60.0  # that is read again: others may have taken their time to write

_LAYOUT = Layout(
    "standing of peers",
    """
CREATE TABLE IF NOT EXISTS standing (peer_id TEXT PRIMARY KEY, written_s REAL NOT NULL, standing TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS statistic (peer_id TEXT PRIMARY KEY, written_s REAL NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS conviction (
    peer_id TEXT PRIMARY KEY, written_s REAL NOT NULL, kind TEXT NOT NULL, proof BLOB NOT NULL
);
""",
)

Change = Callable[[Standing], Standing]


@dataclass
class News:
    """What one process has to add."""

    changes: list[tuple[str, Change]] = field(default_factory=list)  # of peers' standings, in order
    statistics: dict[str, bytes] = field(default_factory=dict)
    convictions: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # kind, and proof

    def __bool__(self) -> bool:
        return bool(self.changes or self.statistics or self.convictions)


@dataclass
class Pages:
    """What is in the file."""

    standings: dict[str, Standing]
    statistics: dict[str, bytes]
    convictions: dict[str, str]  # kind


def read_proofs(path: Path) -> dict[str, tuple[str, bytes]]:
    """What the convictions in a file rest on: kind and proof, by peer id. Raises SwarmError if it cannot be read."""
    if not path.exists():
        return {}
    try:
        with closing(read_database(path, _LAYOUT)) as database:
            rows = database.execute("SELECT peer_id, kind, proof FROM conviction ORDER BY written_s").fetchall()
    except sqlite3.Error as error:
        raise SwarmError(f"the convictions in {path} cannot be read: {error}") from error
    return {peer_id: (kind, proof) for peer_id, kind, proof in rows}


class ReputationFile:
    """Used by one thread at a time."""

    def __init__(self, path: Path):
        """Raises SwarmError."""
        self._file = FileConnection(path, _LAYOUT, busy_s=_BUSY_S)
        self._read_s = 0.0

    def exchange(self, news: News) -> Pages:
        """Add `news`, all or nothing; returns what was written since the last call, by whomever. Raises DiskTrouble for
        a file that is locked, full, broken or gone."""
        try:
            return self._exchange(self._file.get(), news, time.time())
        except sqlite3.Error as error:
            self._file.failed(error)
            raise DiskTrouble(str(error)) from error

    def close(self) -> None:
        self._file.close()

    def _exchange(self, database: sqlite3.Connection, news: News, now_s: float) -> Pages:
        since_s = min(self._read_s, now_s) - _OVERLAP_S  # the clock may have been set back
        database.execute("BEGIN IMMEDIATE" if news else "BEGIN")
        try:
            if news:
                _add(database, news, now_s)
            pages = _read(database, since_s)  # before it is done: what fails then is not added twice
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self._read_s = now_s
        return pages


def _add(database: sqlite3.Connection, news: News, now_s: float) -> None:
    standings: dict[str, Standing] = {}
    for peer_id, change in news.changes:
        if peer_id not in standings:
            standings[peer_id] = _standing(database, peer_id)
        standings[peer_id] = change(standings[peer_id])
    database.executemany(
        "INSERT OR REPLACE INTO standing VALUES (?, ?, ?)",
        [(peer_id, now_s, json.dumps(asdict(standing))) for peer_id, standing in standings.items()],
    )
    database.executemany(
        "INSERT OR REPLACE INTO statistic VALUES (?, ?, ?)",
        [(peer_id, now_s, data) for peer_id, data in news.statistics.items()],
    )
    database.executemany(
        "INSERT OR IGNORE INTO conviction VALUES (?, ?, ?, ?)",
        [(peer_id, now_s, kind, proof) for peer_id, (kind, proof) in news.convictions.items()],
    )
    for table in ("standing", "statistic"):
        database.execute(
            f"DELETE FROM {table} WHERE peer_id IN "
            f"(SELECT peer_id FROM {table} ORDER BY written_s DESC LIMIT -1 OFFSET {MAX_PEERS})"
        )


def _standing(database: sqlite3.Connection, peer_id: str) -> Standing:
    row = database.execute("SELECT standing FROM standing WHERE peer_id = ?", [peer_id]).fetchone()
    return _parse(row[0]) if row else STRANGER


def _read(database: sqlite3.Connection, since_s: float) -> Pages:
    def rows(table: str, column: str) -> sqlite3.Cursor:
        return database.execute(f"SELECT peer_id, {column} FROM {table} WHERE written_s >= ?", [since_s])

    return Pages(
        {peer_id: _parse(text) for peer_id, text in rows("standing", "standing")},
        dict(rows("statistic", "data")),
        dict(rows("conviction", "kind")),
    )


def _parse(text: str) -> Standing:
    """A standing as it was written; a stranger's if another version of this software wrote something else."""
    try:
        figures = json.loads(text)
        return Standing(**figures) if all(map(math.isfinite, figures.values())) else STRANGER
    except (ValueError, TypeError, AttributeError):
        return STRANGER
