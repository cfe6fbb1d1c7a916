"""Nobody waits for the disk who does not ask for it, and what it does not take is not lost: real files, really locked,
full, or gone."""

import asyncio
import logging
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from disks import gone, locked
from helpers import wait_until
from swarm.errors import DiskTrouble, SwarmError
from swarm.storage.condition import PATIENCE_S, Condition
from swarm.storage.connection import FileConnection
from swarm.storage.writer import Writer
from things import THINGS, add, names


def test_what_is_put_while_another_process_has_the_file_locked_is_written_afterwards(writer, file, caplog):
    with locked(file):
        for number in range(100):
            writer.put(add(str(number)))
        assert wait_until(writer.condition.trouble, 20)
        assert writer.condition.trouble() == "it cannot write its things: database is locked"
        assert not writer.flush()  # does not wait for a disk that fails
    assert wait_until(writer.flush, 20) and not writer.condition.trouble()
    assert names(file) == [str(number) for number in range(100)]


def test_a_machine_without_a_thread_for_a_while_or_without_memory_is_waited_for(writer, file, monkeypatch):
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        writer.put(add("one"))
        assert writer.trouble() == "it cannot write its things: the machine has no thread left"
    assert wait_until(lambda: not writer.trouble(), 20)  # whoever asks has it tried again
    with monkeypatch.context() as patched:
        patched.setattr(writer, "_commit", lambda batch: (_ for _ in ()).throw(MemoryError))
        writer.put(add("two"))
        assert wait_until(writer.trouble, 20) and "MemoryError" in writer.trouble()
    assert wait_until(lambda: not writer.trouble(), 20) and wait_until(writer.flush, 20)
    assert names(file) == ["one", "two"]


def test_the_log_hears_once_that_a_disk_fails_and_once_that_it_is_over(writer, file, caplog):
    caplog.set_level(logging.WARNING)
    with locked(file):
        writer.put(add("one"))
        assert wait_until(writer.condition.trouble, 20)
        for _ in range(3):
            before = writer._file.get().total_changes
            assert wait_until(lambda: writer.condition.trouble(), 20)
            threading.Event().wait(0.7)  # another try
            assert writer._file.get().total_changes == before
    assert wait_until(writer.flush, 20)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"the things in {file} cannot be written",
        caplog.records[-1].message,
    ]
    assert "can be written again" in caplog.records[-1].message


def test_who_asks_is_told_that_the_disk_fails_and_it_is_done_later_all_the_same(writer, file):
    with locked(file), pytest.raises(DiskTrouble, match="things: database is locked"):
        asyncio.run(writer.ask(add("one")))
    assert wait_until(writer.flush, 20)
    assert names(file) == ["one"]


def test_the_event_loop_goes_on_while_a_file_is_locked(writer, file):
    """Were it to wait, the lock would not be let go of."""

    async def run(other: sqlite3.Connection) -> bool:
        asked = asyncio.create_task(writer.ask(add("one")))
        for _ in range(50):
            await asyncio.sleep(0.001)
        other.execute("ROLLBACK")
        return await asked

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert asyncio.run(run(other))


def test_a_disk_that_is_full_takes_everything_when_there_is_room_again(writer, file):
    writer.put(add("first"))
    assert writer.flush()
    pages = writer._file.get().execute("PRAGMA page_count").fetchone()[0]
    writer._file.get().execute(f"PRAGMA max_page_count={pages}")
    for number in range(100):
        writer.put(add(f"{number}" * 500))
    assert wait_until(writer.condition.trouble, 20)
    assert "disk is full" in writer.condition.trouble()
    writer._file.get().execute("PRAGMA max_page_count=100000")
    assert wait_until(writer.flush, 20)
    assert len(names(file)) == 101


@pytest.mark.parametrize("is_used", [True, False])
def test_nothing_goes_into_a_file_that_was_moved_away_nor_into_one_in_its_place(writer, file, is_used):
    if is_used:
        writer.put(add("before"))
        assert writer.flush()
    with gone(file.parent):
        writer.put(add("meanwhile"))
        assert wait_until(writer.condition.trouble, 20)
        assert writer.condition.trouble() == (
            "it cannot write its things: the file is gone; put it back, or start again without it"
        )
        assert not file.parent.exists()
    assert wait_until(writer.flush, 20)
    assert names(file) == ["before"] * is_used + ["meanwhile"]


def test_something_else_in_the_place_of_the_file_is_left_alone(writer, file):
    with gone(file.parent):
        file.parent.mkdir()
        file.write_bytes(b"something else" * 1000)
        writer.put(add("one"))
        assert wait_until(writer.condition.trouble, 20)
        assert str(file) not in writer.condition.trouble()  # what others read names no path
        assert file.read_bytes() == b"something else" * 1000
        shutil.rmtree(file.parent)
    assert wait_until(writer.flush, 20)
    assert names(file) == ["one"]


def test_what_came_while_a_write_took_its_time_is_written_in_one_transaction(writer, file):
    """A disk of 200 ms a write would otherwise fall behind for ever."""
    begun, go_on, commits = threading.Event(), threading.Event(), []

    def slow(database: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(20)

    writer._file.get().set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    writer.put(slow)
    assert begun.wait(20)
    for number in range(1000):
        writer.put(add(str(number)))
    go_on.set()
    assert writer.flush(20)
    assert len(commits) == 2 and len(names(file)) == 1000


def test_of_what_waits_under_one_key_the_newest_is_written(writer, file):
    done = []
    with locked(file):
        for name in ("old", "older", "new"):
            writer.put(add(name), key="thing", written=lambda name=name: done.append(name))
        assert wait_until(writer.condition.trouble, 20)
    assert wait_until(writer.flush, 20)
    assert names(file)[-1] == "new" and "older" not in names(file) and wait_until(lambda: "new" in done, 20)


def test_a_write_that_can_never_be_done_keeps_no_other_from_it(writer, file):
    for name in ("one", "one", "two"):
        writer.put(add(name))
    assert writer.flush()
    assert names(file) == ["one", "two"] and not writer.condition.trouble()


def test_nothing_that_fails_beside_the_disk_ends_the_writing(writer, file, caplog):
    def broken(*arguments: object) -> None:
        raise KeyError("a mistake of ours")

    writer.put(broken)
    writer.put(add("one"), written=broken)
    assert writer.flush()
    writer.put(add("two"))
    assert writer.flush()
    assert names(file) == ["one", "two"] and not writer.condition.trouble()


def test_in_memory_it_is_as_in_a_file(caplog):
    with closing(Writer(None, THINGS)) as writer:
        writer.put(add("one"))
        assert asyncio.run(writer.ask(add("two")))
        with writer.reading() as database:
            assert database.execute("SELECT name FROM thing").fetchall() == [("one",), ("two",)]
    assert not caplog.messages


def test_a_file_that_is_empty_now_is_not_written_to(writer, file):
    writer.put(add("before"))
    assert writer.flush()
    with gone(file.parent):
        file.parent.mkdir()
        file.touch()
        writer.put(add("one"))
        assert wait_until(writer.condition.trouble, 20)
        assert "the file is empty; put back what was in it" in writer.condition.trouble()
        shutil.rmtree(file.parent)
    assert wait_until(writer.flush, 20)
    assert names(file) == ["before", "one"]


def test_to_open_a_file_that_is_locked_takes_no_longer_than_was_asked_for(file):
    file.parent.mkdir()
    file.touch()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun_s = time.monotonic()
        with pytest.raises(SwarmError, match="locked"):
            FileConnection(file, THINGS, busy_s=0.2)
        assert time.monotonic() - begun_s < 2


def test_what_cannot_be_read_is_said_as_such(writer, file):
    with writer.reading() as database:
        assert database.execute("SELECT COUNT(*) FROM thing").fetchone() == (0,)
    file.unlink()
    with pytest.raises(DiskTrouble, match="cannot be used"), writer.reading():
        pass


def test_a_disk_that_does_not_answer_is_in_trouble_before_it_fails():
    now_s = 0.0
    condition = Condition("things", Path("things.db"), lambda: now_s)
    condition.waits()
    now_s = PATIENCE_S - 1
    assert not condition.trouble()
    now_s = PATIENCE_S + 1
    assert "does not answer" in condition.trouble()
    condition.written(is_all=False)
    assert not condition.trouble()
    now_s = 3 * PATIENCE_S
    assert "does not answer" in condition.trouble()
    condition.written(is_all=True)
    now_s = 9 * PATIENCE_S
    assert not condition.trouble()


def test_where_no_file_can_be_made_nothing_is_begun(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(SwarmError, match="cannot be used"):
        Writer(tmp_path / "taken" / "things.db", THINGS)
