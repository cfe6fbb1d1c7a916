"""Quantised blocks through real servers: the tokens of one process, announced, demanded, and small in memory."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import swarm
import warm
from helpers import statuses
from swarm.generate.formats import head_format
from swarm.model import BlockRange, Checkpoint, ModelEnds
from swarm_kernels import FORMATS, Segment, cpu

PAGE = 32
PROMPTS = ["The capital of France is", "Once upon a time, in a forest,", "def fibonacci(n):"]
COUNT = 24

needs_kernels = pytest.mark.skipif(not cpu.is_available(), reason="torch promises no equal bits")


def generate_here(checkpoint: Checkpoint, quant: str, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens of one process that holds the whole model."""
    config = checkpoint.config
    blocks = BlockRange.load(checkpoint, 0, config.num_blocks, torch.float32, quant=quant, threads=1)
    ends = ModelEnds.load(checkpoint, torch.float32, "int8")
    pages = range(8)
    shape = (len(pages), PAGE, config.num_kv_heads, config.head_dim)
    cache = [tuple(torch.zeros(shape) for _ in "kv") for _ in range(config.num_blocks)]
    tokens: list[int] = []
    position, new = 0, prompt
    while len(tokens) < count:
        hidden = blocks.forward(ends.embed(new), blocks.layout([Segment(pages, position, len(new))], PAGE), cache)
        position += len(new)
        new = [int(ends.logits(hidden[-1:]).argmax())]
        tokens += new
    return tokens


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    """Two peers with int4 weights and exact activations, of which one can do without the other, and two with int8."""
    with swarm.LocalSwarm("demo", ["0:13", "13:30"], quant="int4", dtype="float32", threads=1) as local:
        local.start("0:30", quant="int8", dtype="bfloat16", threads=1)
        yield local


@needs_kernels
def test_a_chain_gives_the_tokens_of_one_process_alone_and_in_company(local, demo_checkpoint, demo_tokenizer):
    ids = [demo_tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    expected = [generate_here(demo_checkpoint, "int4", prompt, COUNT) for prompt in ids]
    with swarm.Client("demo", local.peers, quant="int4") as client:
        together = client.generate(ids * 3, max_new_tokens=COUNT, ignore_eos=True)
        assert [out.token_ids for out in together] == expected * 3
        alone = client.generate(ids[0], max_new_tokens=COUNT, ignore_eos=True)
        assert alone.token_ids == expected[0]
        assert [hop.blocks for hop in alone.route] == [(0, 13), (13, 30)]


def test_peers_announce_their_format_and_clients_demand_one(local):
    with swarm.Client("demo", local.peers) as client:
        records = [status.record for status in statuses(client)]
    assert [(record.quant, record.dtype) for record in records] == [
        ("int4", "float32"),
        ("int8", "bfloat16"),
        ("int4", "float32"),
    ]
    for demand, blocks in (({"quant": "int8"}, [(0, 30)]), ({"dtype": "float32"}, [(0, 13), (13, 30)])):
        with swarm.Client("demo", local.peers, **demand) as client:
            assert [hop.blocks for hop in client.generate("Hello", max_new_tokens=2).route] == blocks
    there = r"quant nf4,? .*there is quant int4 with dtype float32, quant int8 with dtype bfloat16"
    hasty = swarm.Client("demo", local.peers, quant="nf4", coverage_timeout_s=0.0)
    with hasty as client, pytest.raises(swarm.NoRoute, match=there):
        client.generate("Hello", max_new_tokens=2)
    for options in ({"quant": "int3"}, {"head": "int3"}):
        with pytest.raises(swarm.InvalidRequest, match="int3"):
            swarm.Client("demo", local.peers, **options)


@needs_kernels
def test_the_numerics_id_is_that_of_peers_which_compute_the_same(local):
    with swarm.Client("demo", local.peers) as client:
        first, other, second = [status.record.numerics_id for status in statuses(client)]
    assert first == second
    assert first != other
    assert "int4" in first and cpu.kernel_id() in first and torch.__version__.split("+")[0] in first


def test_the_head_follows_the_chain(local):
    with swarm.Client("demo", local.peers) as client:
        peers = client.parts.router.table.usable()
        assert set(client.parts.heads.formats) == {"int8"}
    assert head_format(peers) == "int8"
    assert head_format([]) == "float32"
    with swarm.Client("demo", local.peers, head="bfloat16") as client:
        assert set(client.parts.heads.formats) == {"bfloat16"}
        assert client.generate("The capital of France is", max_new_tokens=1).text == " Paris"


@pytest.mark.parametrize("quants", [("bnb-nf4", "nf4"), ("int4-g64", "none")])
def test_every_format_serves_and_formats_mix(quants):
    with swarm.LocalSwarm("demo", ["0:4"], quant=quants[0], dtype="bfloat16", threads=1) as local:
        local.start("4:30", quant=quants[1])
        with swarm.Client("demo", local.peers) as client:
            assert client.generate("The capital of France is", max_new_tokens=1).text == " Paris"


def test_an_unknown_format_is_refused_with_the_known_ones():
    command = [sys.executable, "-m", "swarm.server", "--quant", "int3"]
    result = warm.run(command, timeout=60)
    assert result.returncode == 2
    assert all(name in result.stderr for name in FORMATS)


def test_without_kernels_a_quantised_server_serves_and_promises_no_bits(monkeypatch):
    monkeypatch.setenv("SWARM_CPU_KERNELS", "torch")
    with swarm.LocalSwarm("demo", ["0:30"], quant="int4", threads=1) as local:
        client = swarm.Client("demo", local.peers)
        with client:
            assert client.generate("The capital of France is", max_new_tokens=1).text == " Paris"
            assert statuses(client)[0].record.numerics_id == ""


LOAD = """
import sys, torch
from swarm.model import BlockRange, open_checkpoint
blocks = BlockRange.load(open_checkpoint("demo"), 0, int(sys.argv[1]), torch.bfloat16, quant=sys.argv[2])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@needs_kernels
@pytest.mark.parametrize("quant", ["int4", "int8"])
def test_loading_takes_the_packed_blocks_and_one_more(quant, demo_checkpoint):
    """Of 30 blocks against one: each of the two peaks holds one block unpacked."""
    commands = [[sys.executable, "-c", LOAD, count, quant] for count in ("1", "30")]
    one, all_ = (int(subprocess.run(command, capture_output=True, check=True).stdout) for command in commands)
    weights = demo_checkpoint.block_nbytes(torch.float32) / 4
    packed = 29 * weights * FORMATS[quant].bits_per_weight / 8
    print(f"{quant}: {(all_ - one) * 1024 / packed:.2f} times the packed blocks")
    assert (all_ - one) * 1024 <= packed + demo_checkpoint.block_nbytes(torch.float32)
