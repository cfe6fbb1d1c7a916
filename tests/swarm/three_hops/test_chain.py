"""How activations travel: server to server, and relayed where they must be; clients that vanish, servers that fail."""

import time

import pytest
import torch

import swarm
from helpers import statuses, wait_until
from sessions import run_session
from swarm.session.session import Session
from swarm.wire import messages_pb2 as pb

HIDDEN = 576

FLOAT = 4  # bytes

PROMPT = "The capital of France is"


async def prompt_and_one_token(session: Session) -> torch.Tensor:
    torch.manual_seed(0)
    hidden = torch.randn(40, HIDDEN)
    await session.forward(0, hidden[:39])
    return await session.forward(39, hidden[39:])


def relative_difference(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Of the same rows computed in other batches; a few huge channels dominate a residual stream's absolute values."""
    return float((values - expected).norm() / expected.norm())


# --- push and relay --------------------------------------------------------------------------------------------------


def test_no_intermediate_activation_passes_through_the_client(client):
    before = statuses(client)

    async def work(session: Session) -> tuple[list[int], list[int]]:
        await prompt_and_one_token(session)
        return session.sent_bytes, session.received_bytes

    sent, received = run_session(client, work)
    assert sent == [40 * HIDDEN * FLOAT, 0, 0]
    assert received == [0, 0, 2 * HIDDEN * FLOAT]
    pushed = [now.bytes_pushed - then.bytes_pushed for now, then in zip(statuses(client), before, strict=True)]
    assert pushed == [40 * HIDDEN * FLOAT, 40 * HIDDEN * FLOAT, 0]


def test_the_client_relays_where_a_hop_cannot_reach_the_next(client):
    pushed = run_session(client, prompt_and_one_token)

    async def work(session: Session) -> tuple[torch.Tensor, list[int]]:
        return await prompt_and_one_token(session), session.sent_bytes

    relayed, sent = run_session(client, work, unreachable_next=True)
    assert torch.equal(relayed, pushed)
    assert sent == [40 * HIDDEN * FLOAT] * 3


def test_all_positions_come_back_when_asked_for(client):
    async def work(session: Session) -> torch.Tensor:
        torch.manual_seed(0)
        hidden = torch.randn(700, HIDDEN)  # several messages
        rows = await session.forward(0, hidden, pb.ALL)
        last = await session.forward(699, hidden[699:], pb.LAST)
        return torch.cat((rows, last))

    rows = run_session(client, work, max_tokens=700)
    assert rows.shape == (701, HIDDEN)
    assert relative_difference(rows[700], rows[699]) < 1e-4


def test_a_session_may_rewind_and_gets_the_same_again(client):
    async def work(session: Session) -> list[torch.Tensor]:
        torch.manual_seed(0)
        hidden = torch.randn(20, HIDDEN)
        first = await session.forward(0, hidden, pb.ALL)
        await session.forward(5, torch.randn(9, HIDDEN))  # another continuation
        again = await session.forward(5, hidden[5:], pb.ALL)
        return [first[5:], again]

    first, again = run_session(client, work)
    assert relative_difference(again, first) < 1e-4


def test_half_precision_on_the_wire_halves_the_bytes_and_keeps_the_sense(local, client, expected):
    with swarm.Client("demo", local.peers, wire_dtype="bfloat16") as narrow:
        before = sum(status.bytes_pushed for status in statuses(client))
        out = narrow.generate(PROMPT, max_new_tokens=8, ignore_eos=True)
        pushed = sum(status.bytes_pushed for status in statuses(client)) - before
    assert out.token_ids[:3] == expected[:3]
    assert pushed == (len(out.prompt_token_ids) + 7) * 2 * HIDDEN * 2


# --- choosing peers --------------------------------------------------------------------------------------------------


def test_a_client_uses_only_peers_on_its_terms(local):
    first, middle, last = (server.peer_id for server in local.servers)
    with swarm.Client("demo", local.peers, trusted=[first, middle, last], max_price=0.0) as client:
        assert [hop.peer_id for hop in client.generate(PROMPT, max_new_tokens=2).route] == [first, middle, last]
    for terms in ({"excluded": [middle]}, {"trusted": [first, last]}):
        hasty = swarm.Client("demo", local.peers, **terms, coverage_timeout_s=0.0)
        with hasty as client, pytest.raises(swarm.NoRoute, match="10:20"):
            client.generate(PROMPT, max_new_tokens=2)
    with (
        swarm.Client("demo", local.peers, numerics_id="nobody's", coverage_timeout_s=0.0) as client,
        pytest.raises(swarm.NoRoute, match="numerics nobody's"),
    ):
        client.generate(PROMPT, max_new_tokens=2)


def test_a_client_knows_the_way_to_every_peer_and_compares_what_they_claim_with_what_it_sees(local):
    with swarm.Client("demo", local.peers) as client:
        table, peer_ids = client.parts.router.table, {server.peer_id for server in local.servers}
        assert wait_until(lambda: set(table._pings.links()) >= peer_ids, timeout_s=10)
        client.generate(PROMPT, max_new_tokens=40, ignore_eos=True)
        now_s = time.time()
        assert all(table.estimates.factor(peer_id, now_s) > 0 for peer_id in peer_ids)
        assert set(table.estimates._evidence) >= peer_ids
