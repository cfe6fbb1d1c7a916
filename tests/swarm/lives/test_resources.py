"""Memory: nobody holds what it does not serve."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import swarm
from swarm.model import Checkpoint

PROMPT = list(range(100, 600))


def peak_bytes(pid: int) -> int:
    """The largest resident set that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM: this test needs Linux")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory, demo_checkpoint) -> Path:
    """A model of next to no weights, whose server shows what the interpreter and its libraries need."""
    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    demo_checkpoint.load_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def _plain_processes(monkeypatch):
    """Servers are started as users start them: what a fork shares with others would count as its own."""
    monkeypatch.setattr(swarm.LocalSwarm, "start_process", staticmethod(subprocess.Popen))


CLIENT = """
    import sys, torch, swarm
    torch.set_num_threads(1)
    with swarm.Client(sys.argv[1], sys.argv[2:]) as client:
        client.generate(list(range(100, 600)), max_new_tokens=8, ignore_eos=True)
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def client_peak_bytes(model: str, local: swarm.LocalSwarm) -> int:
    command = [sys.executable, "-c", textwrap.dedent(CLIENT), model, *local.peers]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024


@pytest.mark.usefixtures("_plain_processes")
def test_peers_and_clients_hold_only_their_part(demo_checkpoint: Checkpoint, tiny_model: Path):
    with swarm.LocalSwarm(str(tiny_model), ["0:1"], dtype="float32", threads=1) as tiny:
        tiny_client = client_peak_bytes(str(tiny_model), tiny)
        tiny_server = peak_bytes(tiny.servers[0].pid)
    with swarm.LocalSwarm("demo", ["0:10", "10:30"], dtype="float32", threads=1) as local:
        demo_client = client_peak_bytes("demo", local)
        demo_server = peak_bytes(local.servers[0].pid)
    ten_blocks = 10 * demo_checkpoint.block_nbytes(torch.float32)
    ends = demo_checkpoint.load_embedding(torch.float32).nbytes + demo_checkpoint.load_final_norm(torch.float32).nbytes
    print(f"server {(demo_server - tiny_server) / ten_blocks:.2f} times its tensors over {tiny_server / 2**20:.0f} MiB")
    print(f"client {(demo_client - tiny_client) / ends:.2f} times its tensors over {tiny_client / 2**20:.0f} MiB")
    assert tiny_server < 600 * 2**20  # the interpreter and its libraries, and none of the unused pages' 1 GiB
    assert demo_server - tiny_server <= 1.35 * ten_blocks  # what it sent is kept for audits
    assert demo_client - tiny_client <= 1.3 * ends


EXIT = """
    import atexit, threading
    atexit.register(lambda: print([thread.name for thread in threading.enumerate() if thread.daemon]))  # runs last
    import asyncio
    from swarm.client.background import submit
    submit(asyncio.sleep({}))
"""


@pytest.mark.parametrize("seconds", [0, 60])  # nothing left to do, and something still running
def test_the_clients_thread_ends_before_the_interpreter_does(seconds):
    """A timer of its event loop that fired later crashed the process, one time in thirty."""
    command = [sys.executable, "-c", textwrap.dedent(EXIT.format(seconds))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")
