"""Every SQLite file is opened in one way, and what is wrong with one is said in one line."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from disks import small_files
from swarm.errors import SwarmError
from swarm.storage.database import Layout, open_database, open_to_read, read_database

SCHEMA = "CREATE TABLE IF NOT EXISTS thing (name TEXT)"
THINGS = Layout("things", SCHEMA)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "things.db"


def test_a_file_is_made_with_its_folder_and_is_its_owners_alone(file):
    with closing(open_database(file, THINGS)) as database:
        database.execute("INSERT INTO thing VALUES ('one')")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with closing(open_database(file, THINGS)) as database:
        assert database.execute("SELECT name FROM thing").fetchall() == [("one",)]


def test_what_versions_before_this_wrote_opens_as_it_is(file):
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript("CREATE TABLE thing (name TEXT); INSERT INTO thing VALUES ('old')")
    with closing(open_database(file, Layout("things", SCHEMA, version=1))) as database:
        assert database.execute("SELECT name FROM thing").fetchall() == [("old",)]


@pytest.mark.parametrize("opener", [open_database, read_database])
def test_a_file_of_a_newer_version_is_left_alone(file, opener):
    open_database(file, Layout("things", SCHEMA, version=2)).close()
    before = file.read_bytes()
    with pytest.raises(SwarmError, match=r"the things in .* were written by a newer version"):
        opener(file, THINGS)
    assert file.read_bytes() == before


@pytest.mark.parametrize("opener", [open_database, read_database])
def test_of_a_damaged_file_it_is_said_what_to_do(file, opener):
    file.parent.mkdir()
    file.write_bytes(b"something else" * 1_000)
    with pytest.raises(SwarmError, match=r"the things in .*things.db cannot be used: it is damaged .*; move it away"):
        opener(file, THINGS)


def test_what_is_whole_is_read_without_room_on_its_disk(file):
    with closing(open_database(file, THINGS)) as database:
        database.execute("INSERT INTO thing VALUES ('one')")
    log = file.with_name("things.db-wal")
    with small_files(100):
        with closing(read_database(file, THINGS)) as database:
            assert database.execute("SELECT name FROM thing").fetchall() == [("one",)]
        log.write_bytes(b"not empty")  # so not all is in the file itself
        with pytest.raises(
            SwarmError, match=r"the things in .*things.db cannot be used: its disk is full .*; make room"
        ):
            read_database(file, THINGS)


def test_who_only_reads_needs_no_file_and_has_an_older_one_brought_up_to_date(file):
    with closing(open_to_read(file, THINGS, 1, may_be_missing=True)) as database:
        assert database.execute("SELECT name FROM thing").fetchall() == []
    assert not file.exists()
    open_database(file, THINGS).close()
    newer = Layout("things", f"{SCHEMA}; CREATE TABLE IF NOT EXISTS other (name TEXT)", version=1)
    with closing(open_to_read(file, newer, 1, may_be_missing=True)) as database:
        assert database.execute("SELECT name FROM other").fetchall() == []


def test_where_no_file_can_be_made_it_is_said(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(SwarmError, match=r"the things in .* cannot be used"):
        open_database(tmp_path / "taken" / "things.db", THINGS)


WRITER = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0.1).execute("CREATE TABLE other (name TEXT)")
"""


def test_to_open_a_file_again_leaves_this_processs_locks_on_it(file):
    """Or another process writes into what this one is reading, and the file is damaged."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as first:
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SwarmError, match="locked"):
            open_database(file, THINGS, busy_s=0.1)
        command = [sys.executable, "-c", WRITER, str(file)]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "locked" in other.stderr


# --- layouts ---------------------------------------------------------------------------------------------------------

OTHER = "CREATE TABLE thing (name TEXT, colour TEXT)"
UPGRADES = {0: ("ALTER TABLE thing ADD COLUMN colour TEXT DEFAULT 'none'",), 1: ("UPDATE thing SET colour = 'red'",)}
COLOURED = Layout("things", "CREATE TABLE IF NOT EXISTS thing (name TEXT, colour TEXT)", 2, UPGRADES)


def make(file, *statements: str) -> bytes:
    file.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)
    return file.read_bytes()


@pytest.mark.parametrize("opener", [open_database, read_database])
@pytest.mark.parametrize(
    "statement, reason",
    [
        (OTHER, "its table thing has other columns than this version's"),
        ("CREATE TABLE thing (name TEXT PRIMARY KEY)", "its table thing has other columns than this version's"),
        ("CREATE TABLE song (name TEXT)", "it is something else"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_in_one_line_and_left_alone(file, opener, statement, reason):
    before = make(file, statement)
    with pytest.raises(SwarmError) as caught:
        opener(file, THINGS)
    assert str(caught.value) == f"the things in {file} cannot be used: {reason}; move it away"
    assert file.read_bytes() == before


def test_a_file_of_an_older_layout_is_brought_up_to_date_with_what_is_in_it(file):
    make(file, "CREATE TABLE thing (name TEXT)", "INSERT INTO thing VALUES ('old')")
    for _ in range(2):
        with closing(open_database(file, COLOURED)) as database:
            assert database.execute("SELECT * FROM thing").fetchall() == [("old", "red")]
            assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_file_that_cannot_be_brought_up_to_date_stays_what_it_was(file):
    make(file, "CREATE TABLE thing (name TEXT, size INTEGER)", "INSERT INTO thing VALUES ('other', 1)")
    with pytest.raises(SwarmError, match="has other columns"):
        open_database(file, COLOURED)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT * FROM thing").fetchall() == [("other", 1)]
        assert database.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_new_file_has_the_version_of_its_layout(file):
    with closing(open_database(file, COLOURED)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_file_that_is_to_be_there_is_not_made(file):
    with pytest.raises(SwarmError, match="unable to open"):
        open_database(file, THINGS, makes=False)
    assert not file.exists()
