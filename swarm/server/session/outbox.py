"""What goes back to one session's client: answers, and what went wrong."""

import asyncio
from collections.abc import Callable

from swarm.errors import InvalidRequest, SwarmError
from swarm.wire import messages_pb2 as pb
from swarm.wire.failures import failure

MAX_FAULTS = 16  # things that went wrong after which a session is closed
MAX_LARGE_ANSWERS = 4  # rows and receipts that a client asked for and has not read
OUTBOX_MESSAGES = 256  # unread answers after which a client counts as gone
FAREWELL_TIMEOUT_S = 5.0  # for a client to take what ended its session


class Outbox:
    """Lives in the event loop."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[pb.ToClient | None] = asyncio.Queue(OUTBOX_MESSAGES)  # None: nothing follows
        self._faults = 0
        self._large_answers = 0  # that wait
        self._before_end: list[Callable[[], None]] = []
        self.ended = False
        self._farewell = ""  # why, in words
        self.abandoned = asyncio.Event()  # the client does not read its answers

    def send(self, message: pb.ToClient | None) -> None:
        """Queue `message` for the client. One that does not read its answers is taken for gone."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.abandoned.set()

    def send_large(self, message: pb.ToClient) -> None:
        """Rows or receipts that the client asked for: it cannot fill this server's memory by asking and not reading.
        Raises InvalidRequest."""
        if self._large_answers >= MAX_LARGE_ANSWERS:
            raise InvalidRequest(f"{MAX_LARGE_ANSWERS} answers are waiting to be read; read them before asking again")
        self._large_answers += 1
        self.send(message)

    def relay(self, step: pb.Step) -> None:
        """Hand a computed step to the client because the next hop cannot be reached from here."""
        self.send(pb.ToClient(relay=step))

    def fail(self, error: SwarmError, load: pb.Load | None = None) -> None:
        """Tell the client what went wrong; the session goes on, until it has gone wrong too often."""
        self.send(pb.ToClient(failure=failure(error, load)))
        self._faults += 1
        if self._faults == MAX_FAULTS:
            self._farewell = f"it went wrong {MAX_FAULTS} times, at last: {error}"
            self.send(None)

    def before_end(self, say: Callable[[], None]) -> None:
        """`say` what the client is still to have, before `end` tells it why it gets nothing more."""
        self._before_end.append(say)

    def end(self, error: SwarmError, within_s: float | None = None) -> None:
        """Tell the client why, and close; within so many seconds, also if it reads nothing. Once."""
        if self.ended:
            return
        self.ended, self._farewell = True, str(error)
        for say in self._before_end:
            say()
        self.fail(error)
        self.send(None)
        if within_s is not None:
            asyncio.get_running_loop().call_later(within_s, self.abandoned.set)

    @property
    def ending(self) -> str:
        """Why the session ends, in words; for when it does."""
        unread = "its client does not read its answers" if self.abandoned.is_set() else ""
        return self._farewell or unread or "its client has ended it"

    async def next(self) -> pb.ToClient | None:
        """What goes to the client next; None: nothing any more."""
        return await self._waiting.get()

    def written(self, message: pb.ToClient) -> None:
        """`message` has gone to the client."""
        if message.WhichOneof("kind") in ("rows", "sealed"):
            self._large_answers -= 1
