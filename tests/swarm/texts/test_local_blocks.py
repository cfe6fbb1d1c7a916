"""A client that computes the first and last blocks itself gets the same tokens, and shows the swarm less."""

import asyncio

import pytest
import torch

import swarm
from swarm.cli.support.parsing import two_counts
from swarm.client.background import wait
from swarm.generate.local_blocks import LocalBlocks
from swarm.model import BlockRange, Checkpoint
from swarm.model.kv_cache import PAGE_TOKENS
from swarm.wire import messages_pb2 as pb
from swarm_kernels import Segment

TOKENS = 40
PROMPTS = ["The capital of France is", "Once upon a time, in a forest,", "One, two, three,"]


@pytest.fixture(scope="module")
def local():
    with swarm.LocalSwarm("demo", ["0:15", "15:30", "15:30"], dtype="float32", threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def expected(local) -> list[list[int]]:
    """What the swarm's own blocks give."""
    with swarm.Client("demo", local.peers, dtype="float32") as client:
        return [out.token_ids for out in client.generate(PROMPTS, max_new_tokens=TOKENS)]


@pytest.fixture(scope="module")
def client(local):
    with swarm.Client("demo", local.peers, dtype="float32", local_blocks=(2, 1)) as client:
        yield client


def computer(client: swarm.Client):
    """The blocks that it has loaded, in the one format there is."""
    (loaded,) = client.parts.local._loaded.values()
    return loaded.result()


@pytest.mark.parametrize(("first", "last"), [(1, 0), (0, 2)])
def test_tokens_are_those_of_the_swarm_and_nothing_is_loaded_but_the_local_blocks(
    local, expected, monkeypatch, first, last
):
    loaded, load_block = [], Checkpoint.load_block
    monkeypatch.setattr(
        Checkpoint, "load_block", lambda self, index, *rest: loaded.append(index) or load_block(self, index, *rest)
    )
    with swarm.Client("demo", local.peers, dtype="float32", local_blocks=(first, last)) as client:
        out = client.generate(PROMPTS[0], max_new_tokens=16)
    assert loaded == [*range(first), *range(30 - last, 30)]
    assert out.token_ids == expected[0][:16]
    assert (out.route[0].blocks[0], out.route[-1].blocks[1]) == (first, 30 - last)


def test_several_sessions_at_once_get_what_each_would_get_alone(client, expected):
    assert [out.token_ids for out in client.generate(PROMPTS, max_new_tokens=TOKENS)] == expected
    computer(client)._pool.check_integrity()


def test_the_swarm_gets_the_last_local_blocks_output_and_positions_may_be_computed_again(client, demo_checkpoint):
    """As a session does on a new chain, or where a caller takes tokens back."""
    tokens = client.encode(PROMPTS[1])
    embedded = client._ends.embed(tokens)

    async def compute() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, bytes]:
        session = await client.parts.generator.open_session(len(tokens) + 2)
        try:
            async with client.parts.local.around(session, len(tokens) + 2) as way:
                once = await way.forward(0, embedded, pb.ALL)
                sent = bytes(session._chain.sent._data)
                await way.forward(3, embedded[:4].flip(0))  # other tokens in the middle
                again = await way.forward(3, embedded[3:], pb.ALL)
                last = await way.forward(len(tokens) - 1, embedded[-1:])
                return once, again, last, sent
        finally:
            session.close()

    once, again, last, sent = wait(compute())
    torch.testing.assert_close(again, once[3:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(last, once[-1:], rtol=1e-3, atol=1e-3)
    received = torch.frombuffer(bytearray(sent), dtype=torch.float32).view(embedded.shape)
    blocks = BlockRange.load(demo_checkpoint, 0, 2, torch.float32)
    torch.testing.assert_close(received, forward_alone(blocks, embedded))
    assert (received - embedded).norm() > embedded.norm()


def forward_alone(blocks: BlockRange, hidden: torch.Tensor) -> torch.Tensor:
    config = blocks.config
    shape = (1, len(hidden), config.num_kv_heads, config.head_dim)
    cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(blocks.stop - blocks.start)]
    layout = blocks.layout([Segment([0], 0, len(hidden))], len(hidden))
    return blocks.forward(hidden, layout, cache)


def test_sessions_wait_for_room_in_the_local_cache_and_what_can_never_fit_is_refused(local, expected):
    page_bytes = 2 * 2 * PAGE_TOKENS * 3 * 64 * 4  # of keys and values, in two blocks, 3 heads of 64 floats
    options = {"dtype": "float32", "local_blocks": (1, 1), "local_kv_bytes": page_bytes}
    with swarm.Client("demo", local.peers, **options) as client:  # room for one session at a time
        outs = client.generate(PROMPTS, max_new_tokens=16)
        assert [out.token_ids for out in outs] == [tokens[:16] for tokens in expected]
        with pytest.raises(swarm.InvalidRequest, match="raise local_kv_bytes"):
            client.generate(PROMPTS[0], max_new_tokens=PAGE_TOKENS)
        computer(client)._pool.check_integrity()


def test_a_stream_that_is_left_early_gives_its_pages_back(client):
    stream = client.stream(PROMPTS[0], max_new_tokens=500)
    next(stream)
    stream.close()
    out = client.generate(PROMPTS[0], max_new_tokens=2)
    assert "Paris" in out.text
    wait(asyncio.sleep(0.1))
    computer(client)._pool.check_integrity()


def test_a_hop_that_dies_is_replaced_and_the_tokens_stay(local, client, expected):
    stream = client.stream(PROMPTS[0], max_new_tokens=TOKENS)
    next(stream)
    victim, spare = local.servers[1:]
    if stream.generation.route[-1].peer_id == spare.peer_id:
        victim, spare = spare, victim
    victim.kill()
    for _ in stream:
        pass
    assert stream.generation.token_ids == expected[0]
    assert stream.generation.route[-1].peer_id == spare.peer_id
    assert stream.generation.reroutes == 1


@pytest.mark.slow
def test_quantised_local_blocks_are_those_of_the_chain():
    """Compared with hops that round their activations in the same places."""
    with (
        swarm.LocalSwarm("demo", ["0:2", "2:29", "29:30"], quant="int8", threads=1) as local,
        swarm.Client("demo", local.peers) as plain,
        swarm.Client("demo", local.peers, local_blocks=(2, 1)) as client,
    ):
        wanted = plain.generate(PROMPTS[2], max_new_tokens=12)
        assert client.generate(PROMPTS[2], max_new_tokens=12).token_ids == wanted.token_ids
        assert (computer(client).first.quant, computer(client).first.dtype) == ("int8", torch.bfloat16)


@pytest.mark.parametrize("counts", [(30, 0), (15, 15), (-1, 2), (0, 31)])
def test_counts_that_leave_nothing_to_the_swarm_are_refused(demo_checkpoint, counts):
    with pytest.raises(swarm.InvalidRequest, match="the model has 30 blocks"):
        LocalBlocks(demo_checkpoint, *counts)


@pytest.mark.parametrize("text", ["", "2", "2:", "-1:2", "a:b", "1:2:3", "1.5:2"])
def test_what_is_not_two_counts_is_refused(text):
    assert two_counts("2:1") == (2, 1)
    with pytest.raises(swarm.InvalidRequest, match="two counts"):
        two_counts(text)
