"""Connections to successors: what this hop computed goes to the next one directly, not through the client."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

import grpc

from swarm.wire import messages_pb2 as pb
from swarm.wire.tasks import TaskSet
from swarm.wire.tls import Certificate
from swarm.wire.transport import OPENING_S, Peer, unreachable

logger = logging.getLogger(__name__)

DIAL_TIMEOUT_S = OPENING_S
MAX_LINKS = 256
IDLE_LINK_S = 60.0
QUEUED_STEPS = 1024  # unsent steps after which a successor counts as stuck


class Link:
    """One Push stream to one successor, shared by all sessions that go there.

    A step that could not be sent goes to `undelivered(link, step)`, what the successor refuses to `refused(link,
    failure)`.
    """

    def __init__(
        self,
        endpoint: pb.Endpoint,
        max_bytes: int,
        member: Certificate | None,
        undelivered: "Undelivered",
        refused: "Refused",
    ):
        self.endpoint = endpoint
        self.broken = False
        self.bytes_pushed = 0
        self._undelivered, self._refused = undelivered, refused
        self._sessions = 0  # that use this link
        self._idle_since = time.monotonic()
        self._waiting: deque[pb.Step] = deque()
        self._wake = asyncio.Event()
        self._max_bundle_bytes = max_bytes - 4096  # the message's own few bytes, generously
        self._peer = Peer(endpoint, max_bytes, member)
        self._stream = self._peer.push()
        self._tasks = TaskSet(f"link to {self._peer.address}")
        self._tasks.start(self._write(), "writing")
        self._tasks.start(self._read(), "reading")

    def join(self) -> None:
        """One session more."""
        self._sessions += 1

    def leave(self) -> None:
        """One session less."""
        self._sessions -= 1
        self._idle_since = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether no session uses it, nor has lately."""
        return not self._sessions and (self.broken or time.monotonic() - self._idle_since > IDLE_LINK_S)

    async def connected(self) -> bool:
        """Whether the successor is there: waits until the stream stands, at most DIAL_TIMEOUT_S."""
        try:
            await asyncio.wait_for(self._stream.wait_for_connection(), DIAL_TIMEOUT_S)
        except (TimeoutError, grpc.RpcError):
            self._break("it could not be reached")
        return not self.broken

    def send(self, step: pb.Step) -> None:
        """Send `step` on, or hand it back if the link is broken or stuck."""
        if self.broken or len(self._waiting) >= QUEUED_STEPS:
            self._undelivered(self, step)
        else:
            self._waiting.append(step)
            self._wake.set()

    async def _write(self) -> None:
        while True:
            steps = await self._next_bundle()
            try:
                await self._stream.write(pb.Bundle(steps=steps))
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                self._break(str(unreachable(self._peer, error)) if isinstance(error, grpc.RpcError) else "it closed")
                for step in steps:
                    self._undelivered(self, step)
                return
            for step in steps:
                self.bytes_pushed += len(step.hidden.data)

    async def _next_bundle(self) -> list[pb.Step]:
        """All that waits, as far as it fits into one message: the successor gets a batch's outputs together, and one
        write does where each costs a round of the event loop, which computing may hold up."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        steps = [self._waiting.popleft()]
        size = steps[0].ByteSize()
        while self._waiting and (size := size + self._waiting[0].ByteSize()) <= self._max_bundle_bytes:
            steps.append(self._waiting.popleft())
        return steps

    async def _read(self) -> None:
        try:
            while isinstance(failure := await self._stream.read(), pb.Failure):  # else the stream's end
                self._refused(self, failure)
        except grpc.RpcError as error:
            self._break(str(unreachable(self._peer, error)))
        else:
            self._break("it closed the stream")

    def _break(self, reason: str) -> None:
        """From now on everything goes back to the clients, the unsent steps first."""
        if self.broken:
            return
        self.broken = True
        logger.info("link to %s broke: %s", self._peer.address, reason)
        while self._waiting:
            self._undelivered(self, self._waiting.popleft())

    async def close(self) -> None:
        self.broken = True
        self._tasks.cancel()
        self._stream.cancel()
        await self._peer.close()


Undelivered = Callable[[Link, pb.Step], None]
Refused = Callable[[Link, pb.Failure], None]


class Links:
    """All links of one server, by successor."""

    def __init__(self, max_bytes: int, undelivered: Undelivered, refused: Refused, member: Certificate | None = None):
        """member: in a private swarm, this server's certificate."""
        self._member = member
        self._max_bytes, self._undelivered, self._refused = max_bytes, undelivered, refused
        self._links: list[Link] = []  # broken ones stay until their last session has ended
        self._pushed_before = 0  # bytes, by links closed since

    @property
    def bytes_pushed(self) -> int:
        return self._pushed_before + sum(link.bytes_pushed for link in self._links)

    async def acquire(self, endpoint: pb.Endpoint) -> Link | None:
        """A working link to `endpoint` for one more session, or None if there is none to be had."""
        link = next((link for link in self._links if link.endpoint == endpoint and not link.broken), None)
        if link is None:
            if len(self._links) >= MAX_LINKS:
                return None
            link = Link(endpoint, self._max_bytes, self._member, self._undelivered, self._refused)
            self._links.append(link)
        link.join()
        connected = False
        try:
            connected = await link.connected()
        finally:  # also when the session ends while we dial
            if not connected:
                link.leave()
        return link if connected else None

    def release(self, link: Link) -> None:
        """One session less."""
        link.leave()

    async def sweep(self) -> None:
        """Close the links that no session uses and that are broken or have been idle for a while."""
        await self._close([link for link in self._links if link.is_idle])

    async def close(self) -> None:
        await self._close(list(self._links))

    async def _close(self, links: list[Link]) -> None:
        for link in links:
            self._links.remove(link)
            self._pushed_before += link.bytes_pushed
            await link.close()
