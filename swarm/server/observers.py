"""The server's seam: who follows the work of a server without being part of it.

A session's path imports nothing of receipts or payment; a step carries the receipts of the hops before as bytes that
the path does not read. What signs for the work, has it paid, or only watches it, is a `WorkObserver`, which gives a
`SessionObserver` for each session; swarm.server.assembly puts them in. As they stand here they do nothing: a server
with these is the core alone.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from swarm.server.refusals import refuse_tender
from swarm.server.session.outbox import Outbox
from swarm.server.session.steps import Slice, Work
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows
from swarm.wire.formats.quotes import Quote


class SessionObserver:
    """Follows one session on this hop, from its admission to its end. Lives in the event loop; nothing may wait here
    but `secured` and `answer`."""

    def admitted(self) -> None:
        """There is room, which is the session's: who would refuse it had its say in `admit`. It may still not open, see
        `secured`, and is closed then."""

    async def secured(self) -> None:
        """The session has its room, and is told to its client when this returns: whatever has to be on disk before is.
        Raises SwarmError if it cannot be, which ends the session."""

    def opened(self, answer: pb.Opened) -> None:
        """`answer` is about to go to the client; it may be added to."""

    def check(self, step: pb.Step) -> None:
        """Raises InvalidRequest if `step`, which fits the session, is not to be computed all the same."""

    def may_compute(self, work: Work) -> bool:
        """Whether what is left of the session's next step may be computed now. Asked again and again."""
        return True

    def computed(self, item: Slice, outputs: Rows) -> None:
        """These are the outputs of `item`, one row for each of its positions."""

    def outgoing(self, receipts: Sequence[bytes]) -> Sequence[bytes]:
        """What travels with the outputs just computed. receipts: those of the hops before, as they came."""
        return receipts

    def held(self, receipts: Sequence[bytes]) -> None:
        """The outputs with which `receipts` were to travel go no further: a replay ends here."""

    async def answer(self, message: pb.ToServer) -> bool:
        """Whether `message`, which is not about computing, was one for this observer, which then answers it. Raises
        SwarmError to end the session."""
        return False

    def closed(self) -> None:
        """The session is over."""


UNOBSERVED = SessionObserver()


class SessionObservers(SessionObserver):
    """Several, in this order."""

    def __init__(self, observers: Sequence[SessionObserver]):
        self._observers = observers

    def admitted(self) -> None:
        for observer in self._observers:
            observer.admitted()

    async def secured(self) -> None:
        for observer in self._observers:
            await observer.secured()

    def opened(self, answer: pb.Opened) -> None:
        for observer in self._observers:
            observer.opened(answer)

    def check(self, step: pb.Step) -> None:
        for observer in self._observers:
            observer.check(step)

    def may_compute(self, work: Work) -> bool:
        return all(observer.may_compute(work) for observer in self._observers)

    def computed(self, item: Slice, outputs: Rows) -> None:
        for observer in self._observers:
            observer.computed(item, outputs)

    def outgoing(self, receipts: Sequence[bytes]) -> Sequence[bytes]:
        for observer in self._observers:
            receipts = observer.outgoing(receipts)
        return receipts

    def held(self, receipts: Sequence[bytes]) -> None:
        for observer in self._observers:
            observer.held(receipts)

    async def answer(self, message: pb.ToServer) -> bool:
        for observer in self._observers:
            if await observer.answer(message):
                return True
        return False

    def closed(self) -> None:
        for observer in self._observers:
            observer.closed()


class WorkObserver:
    """Follows all sessions of one server."""

    def trouble(self) -> str:
        """Why no new session may be opened now, for others to read; empty: it may. Asked again and again."""
        return ""

    async def admit(self, request: pb.Open, outbox: Outbox) -> SessionObserver:
        """For a session that `request` asks for; what it says of blocks and model is checked, the rest is not. outbox:
        to the session's client. Raises SwarmError to refuse it, before anything is reserved. May wait."""
        return UNOBSERVED

    async def sweep(self) -> None:
        """Once a second or so: end sessions that are not to go on."""


class Payee:
    """The server as it is paid: what it asks for its work, and what goes on for that. This one asks for nothing."""

    staked = 0  # nano-credits that it has at stake on its ledger

    def quote(self) -> Quote | None:
        """What it asks now; None: nothing, and it keeps no account."""
        return None

    def posted(self, record_hash: bytes, quote: Quote) -> None:
        """The directory has a record with this quote now."""

    def work(self, used_share: Callable[[], float]) -> Sequence[Coroutine[object, object, None]]:
        """All that goes on until it is cancelled. used_share: how busy the server is, from 0 to 1."""
        return ()

    def paid(self, signing: WorkObserver) -> WorkObserver:
        """Who follows the server's work: `signing`, who signs for it, and whoever has it paid."""
        return signing

    async def tender(self, request: pb.Tender, context: Any) -> pb.Tendered:
        """The service's method by which clients ask for bids."""
        return await refuse_tender(request, context)
