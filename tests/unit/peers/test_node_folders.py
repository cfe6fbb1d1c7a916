"""The folder in which a node keeps a key of its own goes with its process, however that ends."""

import subprocess
import sys

import pytest

from swarm.storage import folders

BEGIN = """
import asyncio, os, sys, signal
from swarm.peers.directory import Directory

async def main():
    await Directory.join()
    print("there", flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize(("end", "status", "left"), [("killed", -9, 1), ("ended", 0, 0)])
def test_a_nodes_key_is_gone_at_the_latest_when_the_next_one_starts(end, status, left, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", BEGIN, end], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "there\n")
    assert len(list(tmp_path.glob("swarm-node-*/key"))) == left
    living = folders.Folder(folders.OF_NODE)
    folders.remove_leftovers()
    assert list(tmp_path.glob("swarm-node-*")) == [living.path]
    living.remove()


def test_a_node_of_an_older_version_has_no_lock_and_keeps_its_folder_for_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "swarm-node-old").mkdir()
    now = folders.time.time()
    for hours, is_there in ((23, True), (25, False)):
        monkeypatch.setattr(folders.time, "time", lambda hours=hours: now + 3600 * hours)
        folders.remove_leftovers()
        assert (tmp_path / "swarm-node-old").exists() == is_there
