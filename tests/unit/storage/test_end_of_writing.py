"""What waits to be written when its process ends, or there is too much of it: what is lost, and that it is said."""

import asyncio
import atexit
import os
import subprocess
import sys
import threading
import time

import pytest

from disks import locked
from helpers import wait_until
from swarm.errors import DiskTrouble
from swarm.storage.writer import CLOSE_S, Writer, _close_all
from things import THINGS, add, names


def test_what_comes_after_the_end_is_said_to_be_lost(writer, caplog):
    writer.close()
    writer.put(add("late"))
    assert "is lost: it came after its end" in caplog.text
    with pytest.raises(DiskTrouble):
        asyncio.run(writer.ask(add("later")))


def test_a_machine_without_a_thread_ends_with_what_it_has(file, monkeypatch, caplog):
    writer = Writer(file, THINGS)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread")))
        writer.put(add("one"))
        writer.close()
    assert "could not be written" in caplog.text


def test_a_forked_child_leaves_its_parents_writing_alone(file):
    writer = Writer(file, THINGS)
    with locked(file):
        writer.put(add("one"))
        child = os.fork()
        if child == 0:
            try:
                atexit._run_exitfuncs()  # as at the end of a child that simply ends
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    assert wait_until(writer.flush, 20)
    assert names(file) == ["one"]
    writer.close()


def test_the_end_waits_for_what_waits_and_not_for_ever(file, caplog):
    writer = Writer(file, THINGS)
    writer.put(add("one"))
    writer.close()
    assert names(file) == ["one"]
    writer = Writer(file, THINGS)
    with locked(file):
        writer.put(add("two"))
        writer.close()
    assert caplog.records[-1].message == f"1 write could not be written to {file} by its end"


def test_however_many_files_a_process_has_open_its_end_takes_no_longer_than_one(tmp_path):
    """It used to be four seconds for each, where a server has one."""
    files = [tmp_path / f"{number}.db" for number in range(3)]
    writers = [Writer(file, THINGS) for file in files]
    with locked(*files):
        for writer in writers:
            writer.put(add("one"))
        begun_s = time.monotonic()
        _close_all()
        assert time.monotonic() - begun_s < CLOSE_S + 0.5


def test_of_more_than_may_wait_the_oldest_are_lost_and_that_is_said(file, caplog):
    writer = Writer(file, THINGS, max_waiting=3)
    with locked(file):
        for number in range(5):
            writer.put(add(str(number)))
        assert wait_until(writer.condition.trouble, 20)
    assert wait_until(writer.flush, 20)
    writer.close()
    assert names(file) == ["2", "3", "4"]
    assert any("2 writes to" in record.message and "were lost" in record.message for record in caplog.records)


def test_what_stands_for_money_is_lost_last_and_its_newest_very_last(file, caplog):
    """What came in the place of an older one used to be the first to go."""
    writer = Writer(file, THINGS, max_waiting=3)
    with locked(file):
        writer.put(add("a 1"), key="a", what="voucher")
        assert wait_until(writer.condition.trouble, 20)
        writer.put(add("b 1"), key="b", what="voucher")
        writer.put(add("bill"), what="bill")
        writer.put(add("a 2"), key="a", what="voucher")
        writer.put(add("c 1"), key="c", what="voucher")
        writer.put(add("d 1"), key="d", what="voucher")
    assert wait_until(writer.flush, 20)
    writer.close()
    assert names(file) == ["a 2", "c 1", "d 1"]
    assert f"1 bill, 1 voucher to {file} were lost: more than 3 waited" in caplog.text


def test_what_was_lost_is_said_at_the_end_too_of_a_disk_that_took_nothing_any_more(file, caplog):
    writer = Writer(file, THINGS, max_waiting=2)
    with locked(file):
        for number in range(2):
            writer.put(add(str(number)), what="bill")
        writer.put(add("paid"), key="channel", what="voucher")
        writer.close()
    assert caplog.records[-1].message == f"2 bills, 1 voucher could not be written to {file} by its end"


ENDING = """
import asyncio, sys
{imports}
from swarm.storage.database import Layout

async def work():
    try:
        await asyncio.Event().wait()
    finally:
        writer.put(lambda database: database.execute("INSERT INTO thing VALUES ('last')"))

writer = Writer(Path(sys.argv[1]), Layout("things", "CREATE TABLE IF NOT EXISTS thing (name TEXT UNIQUE)"))
submit(work())
submit(asyncio.sleep(0)).result()
"""
IMPORTS = ["from swarm.client.background import submit", "from swarm.storage.writer import Writer, Path"]


@pytest.mark.parametrize("imports", [IMPORTS, IMPORTS[::-1]])
def test_what_clients_work_writes_when_the_process_ends_is_written(file, imports):
    """Whichever was imported first: writing used to end before the work did."""
    subprocess.run([sys.executable, "-c", ENDING.format(imports="\n".join(imports)), str(file)], check=True)
    assert names(file) == ["last"]
