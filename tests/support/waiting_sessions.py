"""Sessions of a server with steps that wait to be computed."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch

from swarm.model.kv_cache import PAGE_TOKENS
from swarm.server.admission.line import Ask, Place
from swarm.server.links import Links
from swarm.server.observers import UNOBSERVED, SessionObserver
from swarm.server.session.outbox import Outbox
from swarm.server.session.reservation import Reservation
from swarm.server.session.session import Session
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.journal import Journals

HIDDEN = 8


def open_session(
    request: pb.Open,
    pages: Sequence[int],
    place: Place,
    clock: Callable[[], float] = time.monotonic,
    observer: SessionObserver = UNOBSERVED,
    outbox: Outbox | None = None,
) -> Session:
    """What `request` asks for."""
    links = Links(2**20, lambda link, step: None, lambda link, refusal: None)
    reservation, journals = Reservation.of(request, pages, place), Journals(HIDDEN, 2**20)
    return Session(request, reservation, observer, outbox or Outbox(), journals, links, clock)


def make_session(
    max_tokens: int = 1000,
    fee: int = 0,
    background: bool = False,
    clock: Callable[[], float] = time.monotonic,
    observer: SessionObserver = UNOBSERVED,
    outbox: Outbox | None = None,
) -> Session:
    """The only hop of its chain."""
    request = pb.Open(session_id=os.urandom(16), start=0, stop=2, wire_dtype=pb.FLOAT32, max_tokens=max_tokens)
    request.payment.batch = background
    pages = range(-(-max_tokens // PAGE_TOKENS))
    place = Place(Ask("somebody", len(pages), fee, background), since=0.0, seen=0.0, number=0)
    return open_session(request, pages, place, clock, observer, outbox)


def make_step(position: int, rows: int, **changes: object) -> pb.Step:
    hidden = codec.encode(torch.ones(rows, HIDDEN), torch.float32)
    step = pb.Step(position=position, count=rows, hidden=hidden, want=pb.LAST)
    for name, value in changes.items():
        setattr(step, name, value)
    return step


def waiting(*counts: int, **options: object) -> list[Session]:
    """A session for each of `counts`, with a step of so many tokens waiting. options: see `make_session`."""
    sessions = [make_session(**options) for _ in counts]
    for session, count in zip(sessions, counts, strict=True):
        session.accept(make_step(0, count))
    return sessions


def compute(session: Session) -> None:
    """Take what waits off the queue, as a batch does."""
    while session.steps.waiting:
        session.steps.advance(session.steps.waiting[0].remaining)


def unread(outbox: Outbox) -> list[pb.ToClient | None]:
    """What waits in it; None: nothing follows."""

    async def read() -> list[pb.ToClient | None]:
        messages = []
        with suppress(TimeoutError):
            while True:
                messages.append(await asyncio.wait_for(outbox.next(), 0.01))
        return messages

    return asyncio.run(read())
