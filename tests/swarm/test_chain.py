"""How activations travel: server to server, relayed where they must be, and what peers do when others misbehave."""

import asyncio
import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import grpc
import pytest
import torch

import swarm
from helpers import in_background, pages_in_use, statuses, wait_until
from swarm.client.background import wait
from swarm.session.hop import HopFailed
from swarm.session.session import Session
from swarm.session.wanted import Wanted
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.session_id import new_session_id
from swarm.wire.transport import MAX_STEP_TOKENS

HIDDEN = 576
FLOAT = 4  # bytes
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def local() -> swarm.LocalSwarm:
    with swarm.LocalSwarm("demo", ["0:10", "10:20", "20:30"], dtype="float32", threads=1) as local:
        yield local


@pytest.fixture(scope="module")
def client(local) -> swarm.Client:
    with swarm.Client("demo", local.peers) as client:
        yield client


@pytest.fixture(scope="module")
def expected(client) -> list[int]:
    return client.generate(PROMPT, max_new_tokens=24, ignore_eos=True).token_ids


def run_session(client: swarm.Client, work, max_tokens: int = 100, unreachable_next: bool = False):
    """Open a session, await work(session), close it. With unreachable_next, every hop is told a wrong address of its
    successor, as if a firewall stood between them; the client itself still reaches all."""

    async def scenario():
        session = await client.parts.generator.open_session(max_tokens)
        if unreachable_next:
            session.close()
            hops = [
                replace(hop, peer=replace(hop.peer, endpoint=wrong_port(hop.peer.endpoint))) for hop in session.hops
            ]
            session = Session(hops, session._peers, session._options)
            await session.open()
        try:
            return await work(session)
        finally:
            session.close()

    return wait(scenario())


def wrong_port(endpoint: pb.Endpoint) -> pb.Endpoint:
    wrong = pb.Endpoint()
    wrong.CopyFrom(endpoint)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wrong.port = probe.getsockname()[1]
    return wrong


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
        swarm.Client("demo", local.peers, numerics_id="nobody's") as client,
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


# --- hostile steps ---------------------------------------------------------------------------------------------------


def bad_step(session: Session, **changes: object) -> pb.Step:
    tensor = codec.encode(torch.ones(1, HIDDEN), torch.float32)
    for name, value in changes.pop("tensor", {}).items():
        if name == "shape":
            del tensor.shape[:]
            tensor.shape.extend(value)
        else:
            setattr(tensor, name, value)
    return pb.Step(**{"position": 0, "count": 1, "want": pb.LAST, "hidden": tensor, **changes})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"position": 7}, "position 7 leaves a gap"),
        ({"count": 0}, "between 1 and"),
        ({"count": MAX_STEP_TOKENS + 1}, "between 1 and"),
        ({"position": 0, "count": 2}, "wrong shape"),
        ({"tensor": {"shape": [1, 575]}}, "wrong shape"),
        ({"tensor": {"dtype": pb.FLOAT16}}, "wrong dtype"),
        ({"tensor": {"dtype": 77}}, "unknown tensor dtype"),
        ({"tensor": {"data": b"x"}}, "wrong length"),
        ({"tensor": {"digest": bytes(32)}}, "wrong digest"),
    ],
)
def test_a_bad_step_gets_one_line_and_costs_nobody_else(client, expected, changes, complaint):
    async def work(session: Session) -> None:
        step = bad_step(session, **changes)
        step.seq = session.chain.next_seq()
        await session.chain.streams[0].send(step)
        answer = await session.chain.inbox.get()
        assert isinstance(answer, HopFailed)
        assert isinstance(answer.cause, swarm.InvalidRequest)
        assert complaint in str(answer)
        assert "\n" not in str(answer)
        await session.forward(0, torch.ones(3, HIDDEN))  # the session itself goes on

    running = in_background(lambda: client.generate(PROMPT, max_new_tokens=24, ignore_eos=True))
    run_session(client, work)
    assert running.result(60).token_ids == expected


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"max_tokens": 10**6}, swarm.InvalidRequest, "longer than this peer allows"),
        ({"max_tokens": 0}, swarm.InvalidRequest, "longer than this peer allows"),
        ({"revision": "other"}, swarm.RevisionMismatch, "revision"),
        ({"model": "other"}, swarm.InvalidRequest, "serves 'demo'"),
        ({"start": 0, "stop": 30}, swarm.InvalidRequest, "this peer serves blocks"),
        ({"start": 9, "stop": 3}, swarm.InvalidRequest, "this peer serves blocks"),
        ({"session_id": b"short"}, swarm.InvalidRequest, "a UUID of version 7"),
        ({"session_id": bytes(6) + new_session_id()[6:]}, swarm.InvalidRequest, "start a new session"),
        ({"quote": b"short"}, swarm.InvalidRequest, "a quote is named by 32 bytes"),
        ({"wire_dtype": 50}, swarm.InvalidRequest, "dtype"),
    ],
)
def test_a_bad_open_is_refused_with_its_reason(client, changes, error, complaint):
    answer = first_answer(client, open_request(client, **changes))
    assert answer.failure.code == error.__name__
    assert complaint in answer.failure.message


def test_a_session_cannot_be_opened_again_under_the_same_number(client):
    """Or a client could make an honest peer sign two different receipts for the same work."""
    request = open_request(client)
    assert first_answer(client, request).HasField("opened")
    for changes in ({}, {"max_tokens": 11}):
        again = open_request(client, session_id=request.open.session_id, **changes)
        assert "opened here before" in wait_until_free(client, again).failure.message
    assert first_answer(client, open_request(client, session_id=request.open.session_id, seq=1)).HasField("opened")


def wait_until_free(client: swarm.Client, request: pb.ToServer) -> pb.ToClient:
    """The answer once the session that is open under this id has been closed, which takes the server a moment."""
    while "open here already" in (answer := first_answer(client, request)).failure.message:
        time.sleep(0.01)
    return answer


def test_a_stream_must_begin_with_open(client):
    answer = first_answer(client, pb.ToServer(step=pb.Step()))
    assert "must open a session" in answer.failure.message


def open_request(client: swarm.Client, **changes: object) -> pb.ToServer:
    fields = {
        "session_id": new_session_id(),
        "model": "demo",
        "revision": client.parts.checkpoint.revision,
        "start": 0,
        "stop": 10,
        "wire_dtype": pb.FLOAT32,
        "max_tokens": 10,
    }
    return pb.ToServer(open=pb.Open(**{**fields, **changes}))


def first_answer(client: swarm.Client, request: pb.ToServer) -> pb.ToClient:
    async def scenario() -> pb.ToClient:
        hops = await client.parts.router.chain(Wanted(1, 1))
        stream = client.parts.router.connection_to(hops[0].peer).session()
        await stream.write(request)
        answer = await stream.read()
        stream.cancel()
        return answer

    return wait(scenario())


def test_steps_for_unknown_sessions_are_refused(client):
    async def scenario() -> pb.Failure:
        hops = await client.parts.router.chain(Wanted(1, 1))
        stream = client.parts.router.connection_to(hops[1].peer).push()
        await stream.write(pb.Bundle(steps=[pb.Step(session_id=b"x" * 16, count=1)]))
        failure = await stream.read()
        stream.cancel()
        return failure

    assert "no such session" in wait(scenario()).message


def test_an_oversized_message_is_refused_before_it_is_read(client, expected):
    async def scenario() -> grpc.StatusCode:
        hops = await client.parts.router.chain(Wanted(1, 1))
        endpoint = hops[0].peer.endpoint
        peer = swarm.wire.transport.Peer(endpoint, 2**30)
        stream = peer.session()
        huge = pb.Tensor(dtype=pb.FLOAT32, shape=[1, HIDDEN], data=bytes(64 * 2**20))
        try:
            await stream.write(pb.ToServer(step=pb.Step(count=1, hidden=huge)))
            await stream.read()
        except grpc.aio.AioRpcError as error:
            return error.code()
        finally:
            await peer.close()

    assert wait(scenario()) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.generate(PROMPT, max_new_tokens=24, ignore_eos=True).token_ids == expected


def test_random_bytes_on_the_port_disturb_nobody(local, client, expected):
    running = in_background(lambda: client.generate(PROMPT, max_new_tokens=24, ignore_eos=True))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for server in local.servers:
        for encrypted in (False, True) * 5:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
                try:
                    connection = context.wrap_socket(raw) if encrypted else raw
                    connection.sendall(os.urandom(20_000))
                    connection.recv(100)
                except OSError:  # closed in our face, as it should be
                    pass
    assert running.result(60).token_ids == expected


# --- clients that vanish ---------------------------------------------------------------------------------------------

VANISHING_CLIENT = """
    import sys, swarm
    client = swarm.Client("demo", sys.argv[1:])
    stream = client.stream("Once upon a time", max_new_tokens=2000, ignore_eos=True)
    for _ in range(5):
        next(stream)
    print("generating", flush=True)
    for _ in stream:
        pass
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_pages_of_a_client_that_vanishes_come_back_within_5_s(local, client, how):
    command = [sys.executable, "-c", textwrap.dedent(VANISHING_CLIENT), *local.peers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "generating\n"
            assert pages_in_use(client) > 0
            other.send_signal(how)
            assert wait_until(lambda: pages_in_use(client) == 0, timeout_s=5)
        finally:
            other.kill()


def test_two_thousand_sessions_open_and_close_under_garbage_collection(client):
    """Nothing may wait for the event loop from inside a finaliser, and no page may be lost."""
    thresholds = gc.get_threshold()
    gc.set_threshold(50, 2, 2)
    try:

        async def many() -> None:
            for round_ in range(250):
                sessions = await asyncio.gather(*(client.parts.generator.open_session(40) for _ in range(8)))
                for session in sessions[round_ % 2 :]:
                    session.close()
                if round_ % 2:  # the first is closed too, and left to the collector in a cycle of its own
                    sessions[0].cycle = sessions[0]
                    sessions[0].close()
                del sessions

        wait(many())
    finally:
        gc.set_threshold(*thresholds)
    assert wait_until(lambda: pages_in_use(client) == 0, timeout_s=5)


# --- servers that fail -----------------------------------------------------------------------------------------------


def test_a_server_that_stops_says_goodbye_and_finishes_its_sessions(local, client, expected):
    leaver = local.start("10:20")
    assert leaver.peer_id in {status.record.peer_id for status in statuses(client)}
    others = [server for server in local.servers if server.blocks == (10, 20) and server is not leaver and server.alive]
    for other in others:
        other.stop()  # so that the leaver is in use
    with swarm.Client("demo", local.peers, coverage_timeout_s=0.0) as fresh:
        stream = fresh.stream(PROMPT, max_new_tokens=24, ignore_eos=True)
        next(stream)
        stopping = in_background(leaver.stop)
        for _ in stream:
            pass
        assert stream.generation.token_ids == expected
        assert stream.generation.reroutes == 0
        stopping.result(60)
        with pytest.raises(swarm.NoRoute, match=r"no peer serves blocks 10:20"):
            fresh.generate(PROMPT, max_new_tokens=2)
    local.start("10:20")


def test_a_full_server_says_busy_and_waiting_clients_get_their_turn(tmp_path):
    with swarm.LocalSwarm("demo", ["0:30"], threads=1, max_sessions=2, dtype="float32") as local:
        with swarm.Client("demo", local.peers) as client:
            outs = client.generate([PROMPT] * 6, max_new_tokens=4)
            assert len({tuple(out.token_ids) for out in outs}) == 1
        with swarm.Client("demo", local.peers, busy_timeout_s=0.3) as hasty:
            stream = hasty.stream([PROMPT] * 2, max_new_tokens=200, ignore_eos=True)
            next(stream)
            time.sleep(0.5)
            with pytest.raises(swarm.PeerBusy, match="all 2 sessions"):
                hasty.generate(PROMPT)
            stream.close()
