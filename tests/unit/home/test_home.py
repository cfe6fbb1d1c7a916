"""What a machine keeps: a home that cannot be used, processes that live, keys that are claimed."""

import errno
import json
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from helpers import wait_until
from swarm.errors import SwarmError
from swarm.home import (
    announced,
    claimed_identity,
    client_identity,
    find_swarm,
    has_home,
    known_addresses,
    passing_identity,
    require_home,
    swarm_home,
)
from swarm.home import folder as home_folder
from swarm.home.folder import check_home
from swarm.home.places import Place, Ports
from swarm.storage import files
from swarm.wire.identity import Identity

ADDRESS = "/ip4/127.0.0.1/tcp/1/p2p/x"


def full(*_: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- a home that cannot be used --------------------------------------------------------------------------------------


def test_who_cannot_do_without_a_home_says_in_one_line_which_it_is_and_why(no_home):
    for use in (require_home, client_identity, lambda: claimed_identity().__enter__()):
        with pytest.raises(SwarmError, match=r"cannot be used|cannot be read") as error:
            use()
        assert str(no_home) in str(error.value) and "\n" not in str(error.value)


def test_who_can_do_without_says_so_once_and_has_one_key_as_long_as_it_lives(no_home, caplog):
    with caplog.at_level(logging.WARNING):
        assert not has_home() and not has_home()
        assert passing_identity().peer_id == passing_identity().peer_id
    assert [record.getMessage() for record in caplog.records if str(no_home) in record.getMessage()] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("target", ["home", "nowhere"])
def test_a_home_that_is_a_link_which_leads_nowhere_is_told_as_that(home, target):
    home.symlink_to(home.with_name(target))
    with pytest.raises(SwarmError, match=rf"{home} cannot be used: {home} is a link that leads nowhere; make room"):
        require_home()
    with pytest.raises(SwarmError, match=rf"{home} is no folder"):
        check_home()


@pytest.mark.parametrize("use", [require_home, has_home, check_home, passing_identity, client_identity,
                                 lambda: claimed_identity().__enter__()])  # fmt: skip
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_of_a_home_that_others_may_write_in_one_line_says_how_to_close_it(home, caplog, use, mode):
    home_folder._has_home.cache_clear()
    client_identity()
    home.chmod(mode)
    for _ in range(2):
        use()
    (said,) = caplog.messages
    assert said.startswith(f"others than its owner may write in {home}, ") and said.endswith(f": chmod go-w {home}")


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777])
def test_of_a_home_in_which_nobody_replaces_others_files_nothing_is_said(home, caplog, mode):
    home.mkdir()
    home.chmod(mode)
    require_home()
    assert caplog.messages == []


def test_what_is_no_key_gets_no_lock_beside_it(home, tmp_path):
    file = tmp_path / "report.txt"
    file.write_text("no key")
    with pytest.raises(SwarmError, match="is not a secp256k1 identity file"), claimed_identity(file):
        pass
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_that_is_there_is_used_where_nothing_can_be_written(home, monkeypatch):
    key = client_identity().peer_id
    monkeypatch.setattr(home_folder.tempfile, "TemporaryFile", full)
    home_folder._has_home.cache_clear()
    assert not has_home()
    assert passing_identity().peer_id == key
    home_folder._has_home.cache_clear()


def test_a_full_disk_leaves_neither_half_a_key_nor_rubbish(home, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SwarmError, match="No space left on device"):
        Identity.load_or_create(home / "client.key")
    assert list(home.iterdir()) == []


def test_a_key_is_kept_on_a_disk_that_knows_no_second_names(home, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(files.os, "link", refuse)
    made = Identity.load_or_create(home / "client.key")
    assert Identity.load_or_create(home / "client.key").peer_id == made.peer_id
    assert [file.name for file in home.iterdir()] == ["client.key"]


def test_a_home_may_be_written_as_for_a_shell_where_no_shell_reads_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWARM_HOME", "~/of swarm")
    assert swarm_home() == tmp_path / "of swarm"


def test_a_user_without_a_home_folder_gets_one_among_temporary_files_and_reads_where(monkeypatch, tmp_path, caplog):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SWARM_HOME")
    monkeypatch.setattr(home_folder.Path, "home", homeless)
    monkeypatch.setattr(home_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    home_folder._homeless.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = swarm_home()
        assert swarm_home() == found
    home_folder._homeless.cache_clear()
    assert found.parent == tmp_path and stat.S_IMODE(found.stat().st_mode) == 0o700
    assert len(caplog.messages) == 1 and str(found) in caplog.text


# --- processes that live ---------------------------------------------------------------------------------------------


def entries(home: Path) -> list[Path]:
    return sorted((home / "nodes").glob("*.json"))


def test_a_process_whose_clock_was_set_is_found(home):
    with announced([ADDRESS]):
        (file,) = entries(home)
        with open(file, "r+") as opened:
            entry = json.load(opened)
            opened.seek(0)
            json.dump({**entry, "started": entry["started"] - 1.0}, opened)
        assert known_addresses() == [ADDRESS]
        assert entries(home) == [file]


def test_processes_of_two_containers_have_the_same_number_and_are_both_found(home, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with announced([ADDRESS]), announced([ADDRESS + "2"]):
        assert sorted(known_addresses()) == [ADDRESS, ADDRESS + "2"]
        monkeypatch.undo()
    monkeypatch.setenv("SWARM_HOME", str(home))
    assert known_addresses() == []


def test_what_a_killed_process_left_behind_is_found_by_nobody_and_removed(home):
    program = (
        "from swarm.home import announced\nimport sys, time\n"
        f"with announced(['{ADDRESS}']):\n    print('there', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "there\n"
    assert known_addresses() == [ADDRESS]
    process.kill()
    process.wait()
    assert known_addresses() == []
    assert entries(home) == []


def test_what_is_no_file_or_nested_without_end_is_nobody(home):
    (home / "nodes").mkdir(parents=True)
    (home / "places").mkdir()
    os.mkfifo(home / "nodes" / "1.json")
    (home / "nodes" / "2.json").write_text("[" * 60_000)
    (home / "places" / "me.json").write_text("[" * 60_000)
    assert known_addresses() == [] and Place.of("me").ports == Ports()


def test_what_nobody_can_judge_is_not_removed(home):
    files = {
        "1.json": '{"pid": 1}',  # keys are missing
        "2.json": "[]",
        "3.json": '{"pid": 999999999, "started": 1, "addresses": ["/ip4/127.0.0.1/tcp/9/p2p/x"]}',  # does not answer
        "4.json": '{"pid": 2, "started": 1, "addresses": [1]}',
        "5.json": "{",
    }
    (home / "nodes").mkdir(parents=True)
    for name, text in files.items():
        (home / "nodes" / name).write_text(text)
    assert known_addresses() == []
    with pytest.raises(SwarmError, match="no swarm found on this machine"):
        find_swarm(None)
    assert [file.name for file in entries(home)] == list(files)


@contextmanager
def answering(listener: socket.socket, greeting: bytes) -> Iterator[None]:
    """Greet one caller."""

    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(greeting)

    thread = threading.Thread(target=greet)
    thread.start()
    yield
    thread.join()


def test_a_process_of_the_last_version_is_found_while_it_answers(home):
    """It holds no lock; and in a container of its own it has a number that means another process here, or none."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"/ip4/127.0.0.1/tcp/{listener.getsockname()[1]}/p2p/x"
        (home / "nodes").mkdir(parents=True)
        (home / "nodes" / "1.json").write_text(json.dumps({"pid": 1, "started": 5.0, "addresses": [address]}))
        with answering(listener, b"\x13/multistream/1.0.0\n"):
            assert known_addresses() == [address]
        with answering(listener, b"SSH-2.0-OpenSSH_9.6\r\n"):  # which has the port now
            assert known_addresses() == []
    assert known_addresses() == []


def test_a_client_of_the_last_version_finds_a_process_of_this_one(home):
    """It looks up number and start, as the file says them."""
    with announced([ADDRESS]):
        entry = json.loads(entries(home)[0].read_text())
    assert psutil.Process(entry["pid"]).create_time() == entry["started"]
    assert (entry["addresses"], entry["swarm"]) == ([ADDRESS], "")


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_free_as_soon_as_its_process_is_gone(home):
    with claimed_identity() as (first, path):
        with pytest.raises(SwarmError, match="in use"):
            claimed_identity(path).__enter__()
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(claimed_identity().__enter__()[0].peer_id))
        thread.start()
        assert wait_until(lambda: bool(found), 10) and found != [first.peer_id]
    with claimed_identity(path) as (again, _):
        assert again.peer_id == first.peer_id
