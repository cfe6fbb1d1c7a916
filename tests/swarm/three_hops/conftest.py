"""Three servers in a row, one swarm for all tests of this folder: none of them stops a server."""

from collections.abc import Iterator

import pytest

import swarm

PROMPT = "The capital of France is"


@pytest.fixture(scope="session")
def local() -> Iterator[swarm.LocalSwarm]:
    blocks = ["0:10", "10:20", "20:30"]
    with swarm.LocalSwarm("demo", blocks, quant="int4", dtype="float32", threads=1) as local:
        yield local


@pytest.fixture(scope="session")
def client(local) -> Iterator[swarm.Client]:
    with swarm.Client("demo", local.peers) as client:
        yield client


@pytest.fixture(scope="session")
def expected(client) -> list[int]:
    return client.generate(PROMPT, max_new_tokens=24, ignore_eos=True).token_ids
