"""A LocalSwarm without a `with` statement, as in a notebook."""

import builtins
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import swarm
from harness.tiny import tiny_model
from helpers import wait_until
from swarm.client.local import progress, running
from swarm.storage import folders

OPTIONS = {"threads": 1, "kv_memory": "32M"}
KERNEL = """
import sys, time, swarm
from swarm.client.local import running
local = swarm.LocalSwarm(sys.argv[1], ["0:1", "1:3"], threads=1, kv_memory="32M").start()
print(*(server.pid for server in local.servers), local._running.folder.path, flush=True)
if sys.argv[2] == "stay":
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with tiny_model() as folder:
        yield folder


def made(model: str, **options: object) -> swarm.LocalSwarm:
    return swarm.LocalSwarm(model, ["0:1", "1:3"], **OPTIONS, **options)


def test_start_and_stop_do_without_a_with_statement(model):
    local = made(model)
    for attempt in (lambda: local.peers, lambda: local.start("0:1")):
        with pytest.raises(swarm.SwarmError, match=r"^this LocalSwarm is not running; call its start\(\)"):
            attempt()
    assert repr(local) == f"<LocalSwarm of {model}: not running; start() starts it>"
    assert local.start() is local
    servers, peers = list(local.servers), local.peers
    assert peers
    assert local.start() is local  # once more is no harm
    assert (local.servers, local.peers) == (servers, peers)
    assert repr(local) == f"<LocalSwarm of {model}: 0:1, 1:3>"
    with swarm.Client(model, local.peers) as client:
        assert client.generate([1, 2, 3], max_new_tokens=4, ignore_eos=True).token_ids
    local.stop()
    local.close()
    assert not any(server.alive for server in servers)
    assert repr(local) == f"<LocalSwarm of {model}: stopped>"
    with pytest.raises(swarm.SwarmError, match="not running"):
        _ = local.peers
    with local.start():  # others, which a `with` statement ends
        assert all(server.alive for server in local.servers)
        assert local.servers[0].pid != servers[0].pid
        started = local.servers
    assert not any(server.alive for server in started)


def test_options_alone_start_no_server(model):
    with made(model) as local, pytest.raises(swarm.InvalidRequest, match="which blocks is the new server to have"):
        local.start(quant="int4")


def test_a_cell_that_is_run_again_leaves_no_servers_behind(model):
    first = made(model).start()
    kept_elsewhere, servers, folder = first, first.servers, first._running.folder.path  # as a notebook's Out does
    again = made(model).start()
    assert not any(server.alive for server in servers)
    assert not folder.exists()
    assert repr(kept_elsewhere).endswith("stopped>")
    assert all(server.alive for server in again.servers)
    with made(model) as third:  # a `with` statement replaces nothing
        assert all(server.alive for server in [*again.servers, *third.servers])
    again.stop()


def test_in_a_notebook_an_edited_start_cell_replaces_what_it_started(model, monkeypatch, capsys):
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    out = made(model).start()  # which the notebook's `Out` and `_` refer to
    capsys.readouterr()
    with made(model) as beside:  # a `with` statement replaces nothing, and nothing replaces it
        again = swarm.LocalSwarm(model, ["0:3"], **OPTIONS, max_sessions=3).start()
        said = capsys.readouterr().err
        assert f"stopping the LocalSwarm of {model} that was started before\n" in said
        assert not any(server.alive for server in out.servers)
        assert all(server.alive for server in [*again.servers, *beside.servers])
    again.stop()


def test_a_server_that_has_ended_is_seen_and_start_starts_it_again(model):
    local = made(model).start()
    with swarm.Client(model) as client:
        first, last = local.servers
        last.kill()
        assert repr(local) == f"<LocalSwarm of {model}: 0:1, 1:3 ended>"
        assert local.start() is local
        assert repr(local) == f"<LocalSwarm of {model}: 0:1, 1:3>"
        assert local.servers[0] is first
        assert (local.servers[1].peer_id, local.servers[1].pid != last.pid) == (last.peer_id, True)
        assert client.generate([1, 2, 3], max_new_tokens=4, ignore_eos=True).token_ids
        local.stop()
        assert repr(client).endswith(" of the LocalSwarm of this process, which is stopped>")


def test_the_command_that_would_help_starts_a_server_of_this_model_in_this_swarm(model):
    with swarm.LocalSwarm(model, ["0:1"], **OPTIONS) as local:
        for peers in (local.peers, None):
            with (
                swarm.Client(model, peers, coverage_timeout_s=0) as client,
                pytest.raises(swarm.NoRoute, match=f"--model {model} --blocks 1:3 .*--peers {local.peers[0]}"),
            ):
                client.generate([1, 2, 3], max_new_tokens=2)


def test_a_line_that_is_said_is_written_at_once(monkeypatch):
    written = []
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    progress.say("a line")
    monkeypatch.undo()
    assert written == ["a line\n"]


@pytest.mark.parametrize(
    ("blocks", "options", "said"),
    [
        (["10:0"], {}, "10:0 are reversed; did you mean 0:10"),
        ([(3, 3)], {}, "3:3 are no blocks"),
        ("0:3", {"dtype": "float16"}, "unknown dtype 'float16'; use one of float32, bfloat16"),
        ("0:3", {"kv_memory": "1x"}, "kv_memory: '1x' is not a size"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(model, blocks, options, said):
    with pytest.raises(swarm.InvalidRequest, match=said):
        swarm.LocalSwarm(model, blocks, **options)


def test_a_server_that_is_killed_while_it_starts_is_told_with_its_signal(model):
    class Killed(swarm.LocalSwarm):
        def start_process(self, command: list[str], **options: object) -> subprocess.Popen[str]:
            started = super().start_process(command, **options)
            started.kill()
            return started

    with pytest.raises(
        swarm.SwarmError, match=r"^a server was ended by SIGKILL before it was ready, and wrote nothing$"
    ):
        Killed(model, ["0:3"], **OPTIONS).start()


def test_one_without_servers_runs_and_takes_some_later(model):
    with swarm.LocalSwarm(model, [], **OPTIONS) as local:
        assert repr(local) == f"<LocalSwarm of {model}: no servers yet>"
        assert local.start("0:3").alive


def test_what_no_variable_refers_to_is_stopped(model):
    local = made(model).start()
    servers, folder = local.servers, local._running.folder.path
    local = made(model, max_sessions=3)
    gc.collect()
    assert wait_until(lambda: not any(server.alive for server in servers), 20)
    assert wait_until(lambda: not folder.exists(), 20)
    assert local.servers == []


def test_a_client_finds_the_local_swarm_of_its_model_that_was_started_last(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.setenv("SWARM_PEERS", "/ip4/127.0.0.1/tcp/9/p2p/16Uiu2HAmNobody")
    caplog.set_level("INFO", logger="swarm.client.joining")
    (tmp_path / "other").symlink_to(model)
    with (
        swarm.LocalSwarm(model, "0:3", **OPTIONS) as first,
        made(model, secret="a secret of twenty-two and more") as last,
    ):
        with swarm.Client(str(tmp_path / "other")) as client:  # the same folder by another name
            assert repr(client).endswith(", 3 blocks, 2 peers of the LocalSwarm of this process>")
            assert {peer.peer_id for peer in client.usable_peers()} == {server.peer_id for server in last.servers}
        assert "joining the LocalSwarm of this process" in caplog.text
        last.stop()
        with swarm.Client(model) as client:
            assert [peer.peer_id for peer in client.usable_peers()] == [first.servers[0].peer_id]
        with swarm.Client(model, first.peers) as client:
            assert "LocalSwarm" not in repr(client)
    with pytest.raises(swarm.SwarmError):
        swarm.Client(model, coverage_timeout_s=0)


def kernel(model: str, then: str) -> tuple[subprocess.Popen, list[psutil.Process], Path]:
    """A process of its own with a LocalSwarm, the processes of its servers and its directory node, and its folder."""
    process = subprocess.Popen([sys.executable, "-c", KERNEL, model, then], stdout=subprocess.PIPE, text=True)
    *pids, folder = process.stdout.readline().split()
    processes = [psutil.Process(int(pid)) for pid in pids]
    return process, [*processes, *psutil.Process(process.pid).children(recursive=True)], Path(folder)


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


def test_a_killed_kernel_takes_its_servers_along_and_the_next_start_removes_their_keys(model, monkeypatch):
    with tempfile.TemporaryDirectory() as own:  # in which nodes of other tests do not tidy up
        monkeypatch.setenv("TMPDIR", own)
        monkeypatch.setattr(tempfile, "tempdir", own)
        _check_leftovers(model)


def _check_leftovers(model: str) -> None:
    process, processes, folder = kernel(model, "stay")
    assert len(processes) > 3
    with made(model):
        assert folder.exists(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: are_gone(processes), 30)
    assert list(folder.rglob("*.key")), "this test looks at nothing"
    with made(model):
        assert not folder.exists()


def test_an_end_without_stop_leaves_nothing(model):
    process, processes, folder = kernel(model, "end")
    assert process.wait(60) == 0
    assert wait_until(lambda: are_gone(processes), 30)
    assert not folder.exists()


def test_only_own_folders_of_the_dead_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    living, dead = folders.Folder(folders.OF_SWARM), folders.Folder(folders.OF_NODE)
    (dead.path / "some.key").write_text("secret")
    os.close(dead._lock)
    folders.let_go(dead._lock)
    beginning, elsewhere = tmp_path / "swarm-local-new", tmp_path / "elsewhere"
    beginning.mkdir()
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (tmp_path / "swarm-local-link").symlink_to(elsewhere)
    (tmp_path / "swarm-local-file").touch()
    folders.remove_leftovers()
    assert not dead.path.exists()
    assert living.path.exists()
    assert beginning.exists(), "it is not locked yet"
    os.utime(beginning, (0, 0))
    folders.remove_leftovers()
    assert not beginning.exists(), "its process was killed before it was locked, or while it was removed"
    beginning.mkdir()
    assert (elsewhere / "lock").exists()
    monkeypatch.setattr(folders.os, "getuid", lambda: os.geteuid() + 1)
    (elsewhere / "lock").rename(beginning / "lock")
    folders.remove_leftovers()
    assert beginning.exists(), "it is another user's"
    living.remove()
    living.remove()
    assert not living.path.exists()


def test_nothing_of_these_is_left_over(model):
    assert not [one for one in running._all if one.settings.model == model]


def test_what_is_written_while_a_folder_is_removed_goes_too(tmp_path, monkeypatch):
    """As a daemon of libp2p does, that outlives its server by a moment."""
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    folder, remove = folders.Folder(folders.OF_SWARM), shutil.rmtree

    def late(path: Path, ignore_errors: bool) -> None:
        remove(path, ignore_errors=ignore_errors)
        monkeypatch.setattr(folders.shutil, "rmtree", remove)
        path.mkdir()
        (path / "late").touch()

    monkeypatch.setattr(folders.shutil, "rmtree", late)
    folder.remove()
    assert not folder.path.exists()
