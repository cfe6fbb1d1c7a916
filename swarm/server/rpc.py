"""From what arrives on the network to sessions and steps, and back.

Everything that arrives is hostile until checked. Whatever is wrong with it goes back to its sender as one line; the
server and its other sessions go on.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from swarm.errors import InvalidRequest, PeerBusy, SwarmError
from swarm.model.kv_cache import PagePool
from swarm.server.admission.checks import check_opening
from swarm.server.admission.door import Door
from swarm.server.costs.usage import Usage
from swarm.server.links import Link, Links
from swarm.server.observers import WorkObserver
from swarm.server.scheduler.batching import BatchLimits
from swarm.server.scheduler.scheduler import Scheduler
from swarm.server.served import Served
from swarm.server.session.diary import Entry
from swarm.server.session.next_hop import NextHop
from swarm.server.session.outbox import FAREWELL_TIMEOUT_S, Outbox
from swarm.server.session.reservation import Reservation, SessionKey
from swarm.server.session.session import Session
from swarm.wire import messages_pb2 as pb
from swarm.wire.failures import failure
from swarm.wire.journal import Journals
from swarm.wire.tls import Certificate
from swarm.wire.transport import max_message_bytes

OPEN_TIMEOUT_S = 10.0  # a stream that has not opened a session by then is closed

SessionStream = grpc.aio.ServicerContext[pb.ToServer, pb.ToClient]
PushStream = grpc.aio.ServicerContext[pb.Bundle, pb.Failure]
StatusCall = grpc.aio.ServicerContext[pb.StatusRequest, pb.Status]


@dataclass(frozen=True)
class Limits:
    """What one server grants."""

    max_sessions: int = 128
    max_context: int = 8192  # tokens in one session
    idle_timeout_s: float = 120.0  # a session without a step for so long is closed
    journal_bytes: int = 2**28  # of activations kept for successors that may have to be replaced, all sessions together
    batch: BatchLimits = field(default_factory=BatchLimits)


class Handler:
    """The service's methods Session, Push and Status over one block range. Lives in the event loop."""

    def __init__(
        self,
        served: Served,
        scheduler: Scheduler,
        pool: PagePool,
        limits: Limits,
        observer: WorkObserver,
        describe: Callable[[pb.StatusRequest, str], pb.Status],
        member: Certificate | None = None,
        new_session: Callable[..., Session] = Session,
    ):
        """scheduler: gives the pages of sessions back to `pool`. observer: follows all that is computed. describe: what
        Status says beside the load, given the request and the caller's address. member: in a private swarm, this
        server's certificate. new_session: as Session's constructor."""
        self._served, self._pool, self._limits, self._observer = served, pool, limits, observer
        self._describe, self._new_session = describe, new_session
        self.scheduler = scheduler
        self.links = Links(max_message_bytes(served.hidden_size), self._undelivered, self._refused, member)
        self._journals = Journals(served.hidden_size, limits.journal_bytes)
        self._sessions: dict[SessionKey, Session] = {}
        self._door = Door(pool, limits.max_sessions, self._sessions, trouble=observer.trouble)
        self._usage = Usage(lambda: scheduler.busy_s, lambda: self._door.used_share)
        self._bytes_to_clients = 0

    @property
    def open_sessions(self) -> int:
        return len(self._sessions)

    def trouble(self) -> str:
        """Why this server takes no new sessions for the time being; empty: it takes them."""
        return self._observer.trouble()

    def used_share(self) -> float:
        """How busy this server is, from 0 to 1, smoothed from one call to the next."""
        return self._usage.share()

    def load(self) -> pb.Load:
        return pb.Load(
            free_pages=self._pool.free_pages,
            total_pages=self._pool.num_pages,
            sessions=len(self._sessions),
            queued_tokens=self.scheduler.queued_tokens,
            decoding=self.scheduler.decoding,
        )

    # --- the methods -------------------------------------------------------------------------------------------------

    async def status(self, request: pb.StatusRequest, context: StatusCall) -> pb.Status:
        status = self._describe(request, context.peer())
        status.load.CopyFrom(self.load())
        status.tokens_served = self.scheduler.tokens_served
        status.bytes_pushed = self.links.bytes_pushed
        status.bytes_to_clients = self._bytes_to_clients
        status.block_digests.extend(self._served.block_digests)
        return status

    async def session(self, requests: object, context: SessionStream) -> None:
        """A client's own stream: its first message opens a session, its end closes it."""
        session, error, entry = None, None, Entry(context.peer())
        try:
            request = await _first_message(context)
            session = await self._open(request, context.peer())
            pushes = await session.connect(request)
            self.scheduler.wake()  # what was pushed here meanwhile may be computed now
            await context.write(pb.ToClient(opened=session.opened(pushes, self.load())))
            entry.opened(session, pushes)
            await self._converse(session, context)
        except SwarmError as refusal:
            error = refusal
        finally:
            if session:
                self._close(session)
                entry.closed(session, str(error or session.outbox.ending))
        if error and not session:
            entry.refused(error)
        if error:  # last: a client that reads nothing would hold its pages with this
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                    await context.write(pb.ToClient(failure=failure(error, self.load())))

    async def push(self, requests: object, context: PushStream) -> None:
        """A predecessor's stream: steps of all the sessions that come from there."""
        while isinstance(bundle := await context.read(), pb.Bundle):
            for step in bundle.steps:
                if session := self._sessions.get((step.session_id, step.start)):
                    self._accept(session, step)
                else:
                    error = InvalidRequest("no such session here; its client left or was too slow")
                    await context.write(failure(error, None, step.session_id, step.start))

    # --- one session -------------------------------------------------------------------------------------------------

    async def _open(self, request: pb.Open, caller: str) -> Session:
        """Check the request and reserve what it asks for."""
        check_opening(request, self._served, self._limits.max_context)
        self._door.check_open()
        outbox = Outbox()
        observer = await self._observer.admit(request, outbox)
        # Nothing is awaited from here on: what was free stays so.
        place = self._door.enter(request, caller)
        observer.admitted()
        reservation = Reservation.of(request, self._pool.allocate(request.max_tokens), place)
        session = self._new_session(request, reservation, observer, outbox, self._journals, self.links)
        self._sessions[reservation.key] = session
        self.scheduler.add(session)
        return session

    def _close(self, session: Session) -> None:
        self._sessions.pop(session.reservation.key, None)
        self.scheduler.remove(session)
        session.close()
        self._door.left(session)

    async def _converse(self, session: Session, context: SessionStream) -> None:
        """Read steps and write answers until either side ends the stream, or the client stops reading."""
        ends: list[Coroutine[object, object, object]] = [
            self._read_messages(session, context),
            self._write_answers(session.outbox, context),
            session.outbox.abandoned.wait(),
        ]
        tasks = [asyncio.create_task(end) for end in ends]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _read_messages(self, session: Session, context: SessionStream) -> None:
        while isinstance(message := await context.read(), pb.ToServer):
            if message.HasField("step"):
                self._accept(session, message.step)
            else:
                await session.answer(message, self.load)
                self.scheduler.wake()  # a step may be paid for now

    async def _write_answers(self, outbox: Outbox, context: SessionStream) -> None:
        while message := await outbox.next():
            await context.write(message)
            outbox.written(message)
            self._bytes_to_clients += len(message.result.hidden.data) + len(message.relay.hidden.data)

    def _accept(self, session: Session, step: pb.Step) -> None:
        try:
            session.accept(step)
        except SwarmError as error:
            session.outbox.fail(error, self.load())
        else:
            self.scheduler.wake()

    # --- trouble with successors -------------------------------------------------------------------------------------

    def _undelivered(self, link: Link, step: pb.Step) -> None:
        """The successor cannot be reached: the client relays, if it is the successor still."""
        for session, next_hop in self._senders_to(step.session_id, step.start):
            if next_hop.note_trouble(link):
                session.outbox.relay(step)

    def _refused(self, link: Link, refusal: pb.Failure) -> None:
        """The successor does not know the session: its client must hear of it, unless it was replaced since."""
        for session, next_hop in self._senders_to(refusal.session_id, refusal.start):
            if next_hop.note_trouble(link):
                session.outbox.fail(SwarmError(f"the next hop refused a step: {refusal.message}"))

    def _senders_to(self, session_id: bytes, start: int) -> list[tuple[Session, NextHop]]:
        """The session, if it is open, whose successor begins at block `start`."""
        sessions = [one for (id_, _), one in self._sessions.items() if id_ == session_id]
        return [(one, one.next_hop) for one in sessions if one.reservation.stop == start and one.next_hop][:1]

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def drain(self, within_s: float) -> None:
        """Take no more sessions, and ask the clients of the open ones to move them elsewhere."""
        self._door.close()
        for session in self._sessions.values():
            session.outbox.send(pb.ToClient(leaving=pb.Leaving(within_ms=int(within_s * 1000))))

    async def attend(self) -> None:
        """Every second or so: end sessions that are not to go on, and let go on those that may now."""
        await self._observer.sweep()
        self.scheduler.wake()

    async def sweep(self) -> None:
        """End sessions that have been idle too long, and close idle links."""
        idle_s = self._limits.idle_timeout_s
        horizon = time.monotonic() - idle_s
        for session in self._sessions.values():
            if session.pace.last_active < horizon and not session.steps.waiting:
                session.outbox.end(PeerBusy(f"this session was idle for {idle_s:.0f} s and is closed"))
        self._door.sweep()
        await self.links.sweep()

    async def close(self) -> None:
        await self.links.close()
        await asyncio.to_thread(self.scheduler.close)  # which waits for what is being computed


async def _first_message(context: SessionStream) -> pb.Open:
    try:
        message = await asyncio.wait_for(context.read(), OPEN_TIMEOUT_S)
    except TimeoutError as error:
        raise InvalidRequest(f"no session was opened within {OPEN_TIMEOUT_S:.0f} s") from error
    if not isinstance(message, pb.ToServer) or message.WhichOneof("kind") != "open":
        raise InvalidRequest("a stream's first message must open a session")
    return message.open
