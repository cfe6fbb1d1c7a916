"""What a command imports before its first line of work: that decides how long a user waits for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import swarm
from helpers import wait_until

TELLING = str(Path(__file__).parents[2] / "support" / "telling_server.py")
# A command of its own, since the tests' process has long loaded everything; it tells at its end what it has imported.
COMMAND = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from swarm.__main__ import main
sys.exit(main())
"""
TRAINING = {"hivemind.averaging", "hivemind.optim", "hivemind.moe", "scipy", "pydantic", "pydantic.v1"}
TEXT = {"transformers", "tokenizers", "huggingface_hub"}


@pytest.fixture(scope="module")
def local():
    with swarm.LocalSwarm("demo", ["0:15", "15:30"], threads=1, kv_memory="64M") as servers:
        yield servers


def imported_by(*arguments: str, peers: tuple[str, ...] = ()) -> tuple[str, set[str]]:
    """What `swarm ...` prints, and what it imports."""
    command = [sys.executable, "-c", COMMAND, *arguments, *(("--peers", *peers) if peers else ())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


def test_status_does_without_torch_and_all_that_computes(local):
    text, imported = imported_by("status", "--once", peers=tuple(local.peers))
    assert "30 of 30 blocks served" in text
    assert "grpc" in imported, "this test looks at nothing"
    assert not imported & ({"torch", "numpy", "gguf"} | TEXT | TRAINING)


def test_status_as_json_does_so_too(local):
    text, imported = imported_by("status", "--json", peers=tuple(local.peers))
    assert json.loads(text)["complete"]
    assert not imported & ({"torch", "numpy", "gguf"} | TEXT | TRAINING)


def test_generate_does_without_transformers_and_what_hivemind_trains_with(local):
    text, imported = imported_by("generate", "The capital of France is", "--max-new-tokens=4", peers=tuple(local.peers))
    assert text.startswith(" Paris.")
    assert {"torch", "tokenizers"} <= imported
    assert not imported & ({"transformers", "huggingface_hub"} | TRAINING)


def test_help_and_the_package_itself_import_nothing_heavy():
    _, imported = imported_by("--help")
    assert not imported & ({"torch", "grpc", "hivemind", "rich", "asyncio"} | TEXT | TRAINING)


@pytest.mark.parametrize("words", [
    "identity keys", "receipts list", "evidence --help", "ledger balance", "ledger bill", "earnings", "stop", "secret",
    "config", "completion bash", "generate --help", "server --hlep",
])  # fmt: skip
def test_who_asks_about_keys_money_or_settings_does_not_wait_for_torch(words, tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    command = [sys.executable, "-c", COMMAND, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    imported = set(json.loads(done.stderr.splitlines()[-1]))  # nothing is kept there yet: some say so
    assert "swarm.cli.support.parser" in imported, "this test looks at nothing"
    assert not imported & ({"torch", "numpy", "gguf", "hivemind"} | TEXT | TRAINING)


def test_a_client_is_on_its_way_into_the_swarm_before_torch_is_imported():
    program = "import sys; from swarm.client import client, joining; print('torch' in sys.modules, joining.Joining)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")


def test_a_client_that_cannot_be_made_leaves_the_swarm_that_it_was_joining(local):
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    for wrong, error in (("./nowhere", swarm.ModelError), ("owner/", swarm.SwarmError)):
        with pytest.raises(error):
            swarm.Client(wrong, local.peers)
        assert set(mine.children(recursive=True)) <= before, "a daemon of the client's is left over"


def test_a_server_imports_nothing_of_text_and_training(tmp_path, monkeypatch):
    told = tmp_path / "imported"
    monkeypatch.setenv("TOLD_FILE", str(told))
    monkeypatch.setattr(swarm.LocalSwarm, "start_process", staticmethod(subprocess.Popen))
    monkeypatch.setattr(swarm.LocalSwarm, "program", (TELLING,))
    with (
        swarm.LocalSwarm("demo", ["0:30"], threads=1, kv_memory="64M") as local,
        swarm.Client("demo", local.peers) as client,
    ):
        assert client.generate("The capital of France is", max_new_tokens=4).text.startswith(" Paris")
        os.kill(local.servers[0].pid, signal.SIGUSR1)
        assert wait_until(told.exists, timeout_s=20)
    imported = set(told.read_text().split())
    assert "torch" in imported
    assert not imported & (TEXT | TRAINING)
