"""What peers answer to steps, openings and bytes that are wrong, and that it costs nobody else."""

import os
import socket
import ssl
import time

import grpc
import pytest
import torch

import swarm
from helpers import in_background
from sessions import run_session
from swarm.client.background import wait
from swarm.session.hop import HopFailed
from swarm.session.session import Session
from swarm.session.wanted import Wanted
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.session_id import new_session_id
from swarm.wire.transport import MAX_STEP_TOKENS

HIDDEN = 576

PROMPT = "The capital of France is"


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
        ({"max_tokens": 0}, swarm.InvalidRequest, "for one token or more"),
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
