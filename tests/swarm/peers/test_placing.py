"""Servers that choose their blocks: real ones, with memory for ten blocks of the demo model each."""

import pytest
import torch

import swarm
from helpers import statuses, wait_until
from swarm.errors import ModelError
from swarm.server.loading import affordable_blocks

PROMPT = "The capital of France is"
TEN_BLOCKS = "210M"  # with the cache's 64M, in float32


@pytest.fixture(scope="module")
def local() -> swarm.LocalSwarm:
    options = {"dtype": "float32", "threads": 1, "kv_memory": "64M", "memory": TEN_BLOCKS, "record_life": 6}
    with swarm.LocalSwarm("demo", ["auto"] * 3, **options) as local:
        yield local


def served(client: swarm.Client) -> list[tuple[int, int]]:
    return [(status.record.start, status.record.stop) for status in statuses(client)]


def test_servers_that_start_together_cover_the_model_between_them(local):
    assert sorted(server.blocks for server in local.servers) == [(0, 10), (10, 20), (20, 30)]


def test_a_server_moves_to_where_blocks_are_missing(local):
    """A fourth server repeats blocks that are served already; when those of another are lost, it takes them."""
    spare = local.start("auto")
    victim = next(server for server in local.servers if server.blocks != spare.blocks)
    with swarm.Client("demo", local.peers) as client:
        expected = client.generate(PROMPT, max_new_tokens=12, ignore_eos=True).token_ids
        victim.kill()
        assert wait_until(lambda: victim.blocks in served(client), timeout_s=60)
        assert client.generate(PROMPT, max_new_tokens=12, ignore_eos=True).token_ids == expected
        assert sorted(served(client)) == [(0, 10), (10, 20), (20, 30)]


def test_blocks_that_do_not_fit_are_refused_with_what_to_do(demo_checkpoint):
    ten = 10 * demo_checkpoint.block_nbytes(torch.float32)
    assert affordable_blocks(demo_checkpoint, "none", torch.float32, 2**40) == 30
    assert affordable_blocks(demo_checkpoint, "none", torch.float32, ten) == 10
    assert affordable_blocks(demo_checkpoint, "int4", torch.float32, ten) == 30
    with pytest.raises(ModelError, match="give memory or lower kv_memory"):
        affordable_blocks(demo_checkpoint, "none", torch.float32, 2**20)
    with pytest.raises(ModelError, match=r"MiB as float32, and nothing is left .* raise memory or lower kv_memory"):
        affordable_blocks(demo_checkpoint, "none", torch.float32, -1, is_given=True)
