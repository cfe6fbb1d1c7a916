"""From what arrives on the network to sessions and steps, and back.

Everything that arrives is hostile until checked. Whatever is wrong with it goes back to its sender as one line; the
server and its other sessions go on.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
import torch

from swarm.errors import InvalidRequest, PeerBusy, SwarmError
from swarm.market.channel.acknowledgements import ACKNOWLEDGEMENT_BYTES
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.pricing.policy import Demand
from swarm.model.kv_cache import PagePool
from swarm.server.admission.gate import FAREWELL_TIMEOUT_S, Gate
from swarm.server.admission.reception import Reception
from swarm.server.announcement import Announcement
from swarm.server.links import Link, Links
from swarm.server.scheduler.batching import BatchLimits
from swarm.server.scheduler.runner import Runner, Slice
from swarm.server.scheduler.scheduler import Scheduler
from swarm.server.session.journals import Journals
from swarm.server.session.next_hop import NextHop
from swarm.server.session.session import Session, SessionKey, failure
from swarm.server.session.work_log import WorkLog
from swarm.server.usage import Usage
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity
from swarm.wire.tls import Certificate
from swarm.wire.transport import max_message_bytes

OPEN_TIMEOUT_S = 10.0  # a stream that has not opened a session by then is closed
UNPAID_S = 10.0  # that a session waits for its voucher


@dataclass(frozen=True)
class Limits:
    """What one server grants."""

    max_sessions: int = 128
    max_context: int = 8192  # tokens in one session
    idle_timeout_s: float = 120.0  # a session without a step for so long is closed
    journal_bytes: int = 2**28  # of activations kept for successors that may have to be replaced, all sessions together
    batch: BatchLimits = field(default_factory=BatchLimits)


class Handler:
    """The service's methods Session, Push and Status over one block range. Lives in the event loop.

    announcement: its range, model and revision are what sessions are checked against.
    identity, receipts: with what it signs for its work, and where it keeps what it signed.
    records_rejected: directory records refused so far. member: in a private swarm, this server's certificate.
    till: None: it works for nothing.
    """

    def __init__(
        self,
        announcement: Announcement,
        hidden_size: int,
        runner: Runner,
        pool: PagePool,
        limits: Limits,
        block_digests: Sequence[bytes],
        identity: Identity,
        receipts: ReceiptStore,
        records_rejected: Callable[[], int],
        member: Certificate | None = None,
        till: PayeeChannels | None = None,
    ):
        """block_digests: of the weights of the record's blocks, see swarm.model.identity."""
        self._block_digests = list(block_digests)
        self._announcement, self._hidden_size, self._pool, self._limits = announcement, hidden_size, pool, limits
        self._identity, self._receipts, self.till = identity, receipts, till
        self.scheduler = Scheduler(runner, self._deliver, lambda session: pool.free(session.pages), limits.batch)
        self.links = Links(max_message_bytes(hidden_size), self._undelivered, self._refused, member)
        self.journals = Journals(hidden_size, limits.journal_bytes)
        self._sessions: dict[SessionKey, Session] = {}
        self._usage = Usage(lambda: self.scheduler.busy_s, self._places)
        self._gate = Gate(pool, limits.max_sessions, self._sessions, accounts=till is not None)
        self._reception = Reception(
            announcement.record,
            self._block_digests,
            identity.address,
            receipts,
            self._sessions,
            self._gate,
            limits.max_context,
        )
        self.bytes_to_clients = 0
        self._records_rejected = records_rejected

    @property
    def open_sessions(self) -> int:
        return len(self._sessions)

    def demand(self) -> Demand:
        """How busy this server is, smoothed from one call to the next."""
        return self._usage.demand()

    def load(self) -> pb.Load:
        return pb.Load(
            free_pages=self._pool.free_pages,
            total_pages=self._pool.num_pages,
            sessions=len(self._sessions),
            queued_tokens=self.scheduler.queued_tokens,
            decoding=self.scheduler.decoding,
        )

    # --- the methods -------------------------------------------------------------------------------------------------

    async def status(self, request: pb.StatusRequest, context: grpc.aio.ServicerContext) -> pb.Status:
        return pb.Status(
            record=self._announcement.message(),
            load=self.load(),
            tokens_served=self.scheduler.tokens_served,
            bytes_pushed=self.links.bytes_pushed,
            bytes_to_clients=self.bytes_to_clients,
            records_rejected=self._records_rejected(),
            block_digests=self._block_digests,
        )

    async def session(self, requests: object, context: grpc.aio.ServicerContext) -> None:
        """A client's own stream: its first message opens a session, its end closes it."""
        session, error = None, None
        try:
            session, pushes = await self._open(await self._first_message(context), context.peer())
            await context.write(pb.ToClient(opened=self._opened(session, pushes)))
            await self._converse(session, context)
        except SwarmError as refusal:
            error = refusal
        finally:
            if session:
                self._close(session)
        if error:  # last: a client that reads nothing would hold its pages with this
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                    await context.write(pb.ToClient(failure=failure(error, self.load())))

    async def push(self, requests: object, context: grpc.aio.ServicerContext) -> None:
        """A predecessor's stream: steps of all the sessions that come from there."""
        while (bundle := await context.read()) is not grpc.aio.EOF:
            for step in bundle.steps:
                key = (step.session_id, step.start)
                if session := self._sessions.get(key):
                    self._accept(session, step)
                else:
                    error = InvalidRequest("no such session here; its client left or was too slow")
                    await context.write(failure(error, of=key))

    # --- opening -----------------------------------------------------------------------------------------------------

    async def _first_message(self, context: grpc.aio.ServicerContext) -> pb.Open:
        try:
            message = await asyncio.wait_for(context.read(), OPEN_TIMEOUT_S)
        except TimeoutError as error:
            raise InvalidRequest(f"no session was opened within {OPEN_TIMEOUT_S:.0f} s") from error
        if message is grpc.aio.EOF or message.WhichOneof("kind") != "open":
            raise InvalidRequest("a stream's first message must open a session")
        return message.open

    async def _open(self, request: pb.Open, caller: str) -> tuple[Session, bool]:
        """Check the request, reserve its pages, and connect to its successor if it names one; whether that can be
        reached."""
        tab = await self.till.open(request) if self.till else None  # first: nothing may be awaited after the checks
        place = self._reception.admit(request, caller)
        session = Session(request, self._pool.allocate(request.max_tokens), self._hidden_size)
        session.place, session.priority = place, place.ask.bid
        writer = ReceiptWriter(self._identity, self._reception.terms(request), self._receipts.add)
        session.log, session.tab = WorkLog(self.journals, request.wire_dtype, writer), tab
        if tab:
            tab.enter()
        self._sessions[session.key] = session
        self.scheduler.add(session)
        if not request.HasField("next"):
            return session, False
        session.next_hop = NextHop(request, self.links, session.log.journal, session.relay)
        try:
            return session, await session.next_hop.connect(request.next)
        except BaseException:  # also when the client goes away while we dial
            self._close(session)
            raise

    def _opened(self, session: Session, pushes: bool) -> pb.Opened:
        opened = pb.Opened(pushes=pushes, load=self.load())
        if session.tab:
            receivable = session.tab.receivable
            opened.owed = receivable.abandoned
            opened.voucher = receivable.newest.encode() if receivable.newest else b""
        return opened

    def _close(self, session: Session) -> None:
        self._sessions.pop(session.key, None)
        self.scheduler.remove(session)
        session.close()
        if session.tab:
            writer = session.log.writer
            self.till.close(session.tab, writer.terms, writer.last)
        self._gate.left(session)

    # --- steps in and out --------------------------------------------------------------------------------------------

    async def _converse(self, session: Session, context: grpc.aio.ServicerContext) -> None:
        """Read steps and write answers until either side ends the stream, or the client stops reading."""
        ends = [self._read_messages(session, context), self._write_answers(session, context), session.overflowed.wait()]
        tasks = [asyncio.create_task(end) for end in ends]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _read_messages(self, session: Session, context: grpc.aio.ServicerContext) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            kind = message.WhichOneof("kind")
            if kind == "step":
                self._accept(session, message.step)
            elif kind == "probe":
                session.send(pb.ToClient(progress=session.progress(message.probe.seq, self.load())))
            elif kind == "reroute" and session.next_hop:
                session.change(self._reroute(session, message.reroute))
            elif kind == "fetch":
                session.fetch(message.fetch)
            elif kind == "seal":
                session.seal(message.seal)
            elif kind == "paid" and self.till:
                await self._take(session, message.paid)
            else:
                raise InvalidRequest("this stream's session is open; send steps")

    async def _reroute(self, session: Session, request: pb.Reroute) -> None:
        try:
            answer = pb.ToClient(rerouted=await session.next_hop.reroute(request))
        except SwarmError as error:
            session.fail(error)
        else:
            session.send(answer)

    async def _take(self, session: Session, paid: pb.Paid) -> None:
        try:
            if len(paid.voucher) == ACKNOWLEDGEMENT_BYTES:
                writer = session.log.writer
                self.till.acknowledge(writer.terms, writer.tokens, paid.voucher)
            elif session.tab:
                await self.till.accept(session.tab, paid.voucher)
            else:
                raise InvalidRequest("a voucher for a session that costs nothing")
        except SwarmError as error:
            session.fail(error)
        if paid.seq:
            owed = session.tab.receivable.unpaid if session.tab else 0
            session.send(pb.ToClient(paid_up=pb.PaidUp(seq=paid.seq, owed=owed)))
        self.scheduler.wake()

    async def _write_answers(self, session: Session, context: grpc.aio.ServicerContext) -> None:
        while message := await session.outbox.get():
            await context.write(message)
            session.written(message)
            self.bytes_to_clients += len(message.result.hidden.data) + len(message.relay.hidden.data)

    def _accept(self, session: Session, step: pb.Step) -> None:
        try:
            session.accept(step)
        except SwarmError as error:
            session.fail(error, self.load())
        else:
            self.scheduler.wake()

    def _deliver(self, item: Slice, output: torch.Tensor, queue_s: float, compute_s: float, batch_tokens: int) -> None:
        """Send one computed slice on its way."""
        session, work = item.session, item.work
        rows = codec.to_rows(output, session.wire_dtype)
        session.log.record(item.position, work.rows[item.first : item.first + item.count], rows, work.prompt)
        session.computed(work)
        if work.seal and item.final:
            session.log.seal(work.receipts)
        want = work.want if item.final or work.want == pb.ALL else pb.NOTHING
        if session.next_hop is None and want != pb.ALL:
            rows = rows[-1:] if want == pb.LAST else rows[:0]
        visit = pb.Visit(queue_us=int(queue_s * 1e6), compute_us=int(compute_s * 1e6), batch_tokens=batch_tokens)
        session.send_on(
            pb.Step(
                position=item.position,
                count=item.count,
                hidden=rows.message() if len(rows) else None,
                want=want,
                visits=[*work.visits, visit],
                seq=work.seq,
                replay=work.replay,
                seal=work.seal and item.final,
                prompt=work.prompt,
                receipts=session.log.outgoing(work.receipts if item.final else ()),
            )
        )

    def _undelivered(self, link: Link, step: pb.Step) -> None:
        """The successor cannot be reached: the client relays, if it is the successor still."""
        session = self._sender_to(step.session_id, step.start)
        if session and session.next_hop.note_trouble(link):
            session.relay(step)

    def _refused(self, link: Link, refusal: pb.Failure) -> None:
        """The successor does not know the session: its client must hear of it, unless it was replaced since."""
        session = self._sender_to(refusal.session_id, refusal.start)
        if session and session.next_hop.note_trouble(link):
            session.fail(SwarmError(f"the next hop refused a step: {refusal.message}"))

    def _places(self) -> float:
        """Share of the room for sessions that is in use."""
        pages = 1 - self._pool.free_pages / self._pool.num_pages
        return max(pages, len(self._sessions) / self._limits.max_sessions)

    def _sender_to(self, session_id: bytes, start: int) -> Session | None:
        """The session whose successor begins at block `start`."""
        return next(
            (
                session
                for (id_, _), session in self._sessions.items()
                if id_ == session_id and session.stop == start and session.next_hop
            ),
            None,
        )

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def drain(self, within_s: float) -> None:
        """Take no more sessions, and ask the clients of the open ones to move them elsewhere."""
        self._reception.is_closed = True
        for session in self._sessions.values():
            session.send(pb.ToClient(leaving=pb.Leaving(within_ms=int(within_s * 1000))))

    async def dun(self) -> None:
        """End sessions that have not paid for long, and look whether others have put more into their channels."""
        now = time.monotonic()
        for session in list(self._sessions.values()):
            if session.unpaid_since is None:
                continue
            if now - session.unpaid_since > UNPAID_S:
                session.end(session.tab.receivable.reminder())
            else:
                with suppress(SwarmError):
                    await self.till.look_again(session.tab)
        self.scheduler.wake()

    async def sweep(self) -> None:
        """End sessions that have been idle too long, and close idle links."""
        horizon = time.monotonic() - self._limits.idle_timeout_s
        for session in self._sessions.values():
            if session.last_active < horizon and not session.queue:
                session.end(PeerBusy(f"this session was idle for {self._limits.idle_timeout_s:.0f} s and is closed"))
        self._gate.sweep()
        await self.links.sweep()

    async def close(self) -> None:
        await self.links.close()
        self.scheduler.close()
