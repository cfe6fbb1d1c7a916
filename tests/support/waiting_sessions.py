"""Sessions of a server with steps that wait to be computed."""

import os

import torch

from swarm.model.kv_cache import PAGE_TOKENS
from swarm.server.session.session import Session
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb

HIDDEN = 8


def make_session(max_tokens: int = 1000) -> Session:
    request = pb.Open(session_id=os.urandom(16), start=0, stop=2, wire_dtype=pb.FLOAT32, max_tokens=max_tokens)
    return Session(request, list(range(-(-max_tokens // PAGE_TOKENS))), HIDDEN)


def make_step(position: int, rows: int, **changes: object) -> pb.Step:
    hidden = codec.encode(torch.ones(rows, HIDDEN), torch.float32)
    step = pb.Step(position=position, count=rows, hidden=hidden, want=pb.LAST)
    for name, value in changes.items():
        setattr(step, name, value)
    return step


def waiting(*counts: int) -> list[Session]:
    """A session for each of `counts`, with a step of so many tokens waiting."""
    sessions = [make_session() for _ in counts]
    for session, count in zip(sessions, counts, strict=True):
        session.accept(make_step(0, count))
    return sessions
