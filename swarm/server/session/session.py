"""One client's generation on this hop: what it reserved, what waits, what it computed, and where its outputs go."""

import asyncio
import time
from collections.abc import Callable

import torch

from swarm.errors import InvalidRequest, SwarmError
from swarm.server.links import Links
from swarm.server.observers import SessionObserver
from swarm.server.session.next_hop import NextHop
from swarm.server.session.outbox import Outbox
from swarm.server.session.pace import Pace
from swarm.server.session.reservation import Reservation
from swarm.server.session.steps import Slice, StepQueue
from swarm.shown import count
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.journal import Journals
from swarm.wire.transport import MAX_STEP_TOKENS


class Session:
    """Lives in the event loop; nothing else touches it.

    A step comes in by `accept`, the scheduler computes it, and `computed` sends its outputs on: to the next hop, or
    from the last hop to the client.
    """

    def __init__(
        self,
        request: pb.Open,
        reservation: Reservation,
        observer: SessionObserver,
        outbox: Outbox,
        journals: Journals,
        links: Links,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.reservation, self.outbox, self._observer, self._journals = reservation, outbox, observer, journals
        self.steps = StepQueue(reservation, journals.hidden_size, observer.check)
        self.pace = Pace(clock)
        self._journal = journals.open(request.wire_dtype)  # of the outputs
        self.next_hop: NextHop | None = None  # None: this is the last hop, and answers the client
        if request.HasField("next"):
            self.next_hop = NextHop(request, links, self._journal, outbox.relay)
        self._change: asyncio.Task[None] | None = None  # of the successor, while it is being dialled

    # --- a step's way ------------------------------------------------------------------------------------------------

    def accept(self, step: pb.Step) -> None:
        """Take what comes from the network. Raises InvalidRequest, and changes nothing, if it does not fit."""
        if self.steps.accept(step):
            self.pace.arrived(step.count)

    def is_ready(self) -> bool:
        """Whether something waits that may be computed."""
        waiting = self.steps.waiting
        return bool(waiting) and self._observer.may_compute(waiting[0])

    def computed(self, item: Slice, output: torch.Tensor, visit: pb.Visit) -> None:
        """Send one computed slice on its way. output: [count, hidden_size]. visit: what computing it was like."""
        step, final = item.work.step, item.final
        rows = codec.to_rows(output, self.reservation.dtype)
        self._journals.record(self._journal, item.position, rows.data)
        self._observer.computed(item, rows)
        receipts = self._observer.outgoing(step.receipts if final else ())
        want = step.want if final or step.want == pb.ALL else pb.NOTHING
        wanted = item.count if self.next_hop or want == pb.ALL else int(want == pb.LAST)
        if wanted < item.count:
            rows = rows[item.count - wanted :]
        sent = self.send_on(
            pb.Step(
                position=item.position,
                count=item.count,
                hidden=rows.message() if wanted else None,
                want=want,
                visits=[*step.visits, visit],
                seq=step.seq,
                replay=step.replay,
                seal=step.seal and final,
                prompt=step.prompt,
                receipts=receipts,
            )
        )
        if not sent:
            self._observer.held(receipts)
        self.pace.answered()

    def send_on(self, step: pb.Step) -> bool:
        """Send a computed step to where it goes from here; whether it went: a replay may end here."""
        if self.next_hop:
            return self.next_hop.send(step)
        if not step.replay:
            self.outbox.send(pb.ToClient(result=step))
        return not step.replay

    # --- what the client asks beside ---------------------------------------------------------------------------------

    async def answer(self, message: pb.ToServer, load: Callable[[], pb.Load]) -> None:
        """Answer what is no step. load: this server's. Raises InvalidRequest if it is nothing that may come now."""
        kind = message.WhichOneof("kind")
        if kind == "probe":
            self.outbox.send(pb.ToClient(progress=self.steps.progress(message.probe.seq, load())))
        elif kind == "reroute" and self.next_hop:
            self._reroute(self.next_hop, message.reroute)
        elif kind == "fetch":
            self._fetch(message.fetch)
        elif await self._observer.answer(message):
            return
        elif kind == "seal":
            self.outbox.send_large(pb.ToClient(sealed=pb.Sealed(seq=message.seal.seq)))  # nobody signs here
        else:
            raise InvalidRequest("this stream's session is open; send steps")

    def _reroute(self, next_hop: NextHop, request: pb.Reroute) -> None:
        """Change the successor in the background: probes are answered meanwhile. A newer change replaces one that is
        not done."""

        async def change() -> None:
            try:
                self.outbox.send(pb.ToClient(rerouted=await next_hop.reroute(request)))
            except SwarmError as error:
                self.outbox.fail(error)

        if self._change:
            self._change.cancel()
        self._change = asyncio.create_task(change())

    def _fetch(self, request: pb.Fetch) -> None:
        """Answer with outputs out of the journal."""
        if request.count > MAX_STEP_TOKENS:
            raise InvalidRequest(
                f"asked for {count(request.count, 'position')}; ask for at most {MAX_STEP_TOKENS} at a time"
            )
        rows = self.rows(request.position, request.count)
        self.outbox.send_large(pb.ToClient(rows=pb.Rows(seq=request.seq, hidden=rows.message() if rows else None)))

    def rows(self, position: int, count: int) -> codec.Rows | None:
        """Outputs out of the journal; None if they are not all there any more."""
        return self._journal.rows(position, count)

    # --- its beginning and end ---------------------------------------------------------------------------------------

    async def connect(self, request: pb.Open) -> bool:
        """Wait for what has to be on disk first, and reach out for the successor meanwhile, if `request`, which opens
        the session, names one: whether outputs can be pushed there. Raises SwarmError if the session cannot be
        opened. Each takes OPENING_S at most."""
        reaching = asyncio.create_task(self._reach(request))
        try:
            await self._observer.secured()
            return await reaching
        finally:
            reaching.cancel()

    async def _reach(self, request: pb.Open) -> bool:
        return self.next_hop is not None and await self.next_hop.connect(request.next)

    def opened(self, pushes: bool, load: pb.Load) -> pb.Opened:
        """What to tell the client before anything else. pushes: see `connect`."""
        answer = pb.Opened(pushes=pushes, load=load)
        self._observer.opened(answer)
        return answer

    def close(self) -> None:
        """The session has ended; its pages are the scheduler's to release."""
        if self._change:
            self._change.cancel()
        if self.next_hop:
            self.next_hop.close()
        self._journals.close(self._journal)
        self._observer.closed()
