"""The process in which emulated links live; see links.py, which starts it.

Takes orders on standard input, one line of JSON each, answers each with a number on standard output, and ends when its
input does.
"""

import asyncio
import json
import random
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass

import uvloop

# libuv's timers have a resolution of a millisecond and are late by 0.3 ms in the median, which is taken off; what is
# due within half a millisecond goes now.
TIMER_LATE_S = 0.0003
TIMER_SLACK_S = 0.0005


@dataclass(frozen=True)
class Shape:
    """What a link does to the bytes that pass, in each direction alike."""

    one_way_s: float = 0.0
    jitter_s: float = 0.0  # every piece takes up to this much longer or shorter; the order is kept
    bytes_per_s: float | None = None  # of all connections together; None: no limit


class Line:
    """One direction of a link: when do bytes come out that go in now? Pure but for its dice."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def due(self, size: int, now: float, shape: Shape) -> float:
        """The moment at which the last of `size` bytes that go in at `now` is through."""
        sending_s = size / shape.bytes_per_s if shape.bytes_per_s else 0.0
        self._free_at = max(self._free_at, now) + sending_s
        return self._free_at + max(shape.one_way_s + random.uniform(-shape.jitter_s, shape.jitter_s), 0.0)


class Side(asyncio.Protocol):
    """One side of one connection: what it receives leaves at the other side when it is due. None in the queue is the
    end of what this side has to say."""

    def __init__(self, gate: "Gate", line: Line, other: "Side | None" = None):
        self._gate, self._line, self.other = gate, line, other
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes | None]] = deque()  # due, data
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._gate.sides.add(self)
        if self.other is None:  # a client's; TCP's handshake takes a round trip before its first bytes can leave
            self._latest = self._loop.time() + 2 * self._gate.shape.one_way_s
            self._gate.dial(self)
        if self._gate.is_cut:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._enter(len(data), data)

    def eof_received(self) -> bool:
        self._enter(0, None)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._gate.sides.discard(self)
        self._enter(0, None)

    def _enter(self, size: int, data: bytes | None) -> None:
        now = self._loop.time()
        self._latest = max(self._line.due(size, now, self._gate.shape), self._latest)
        self._queue.append((self._latest, data))
        self.release()

    def release(self) -> None:
        """Let out what is due, and come back for the rest."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._gate.is_cut or not (self.other and self.other.transport):
            return
        now = self._loop.time() + TIMER_SLACK_S
        while self._queue and self._queue[0][0] <= now:
            self.other.send(self._queue.popleft()[1])
        if self._queue:
            self._timer = self._loop.call_at(self._queue[0][0] - TIMER_LATE_S, self.release)

    def send(self, data: bytes | None) -> None:
        if self.transport.is_closing():
            return
        if data is not None:
            self.transport.write(data)
        elif self.other.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    def abort(self) -> None:
        """Close with a reset."""
        if self._timer:
            self._timer.cancel()
        self._queue.clear()
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Gate:
    """One link as its process sees it: a listening socket, and the connections through it."""

    def __init__(self, target: tuple[str, int], shape: Shape):
        self._target, self.shape, self.is_cut = target, shape, False
        self.sides: set[Side] = set()
        self._upward, self._downward = Line(), Line()
        self._undialled: list[Side] = []
        self._dialling: set[asyncio.Task] = set()

    async def listen(self) -> int:
        """Returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Side(self, self._upward), "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def dial(self, client: Side) -> None:
        """Connect `client` to the target, when the link is whole."""
        if self.is_cut:
            self._undialled.append(client)
            return
        task = asyncio.create_task(self._dial(client))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, client: Side) -> None:
        server = Side(self, self._downward, client)
        try:
            await asyncio.get_running_loop().create_connection(lambda: server, *self._target)
        except OSError:  # nobody listens there
            client.abort()
            return
        client.other = server
        client.release()

    def cut(self) -> None:
        self.is_cut = True
        for side in self.sides:
            if not side.transport.is_closing():
                side.transport.pause_reading()

    def heal(self) -> None:
        self.is_cut = False
        waiting, self._undialled = self._undialled, []
        for client in waiting:
            self.dial(client)
        for side in list(self.sides):
            if not side.transport.is_closing():
                side.transport.resume_reading()
            side.release()

    def reset(self) -> None:
        self._undialled.clear()
        for side in list(self.sides):
            side.abort()


class Gates:
    """Carries out the orders of a `Network`."""

    def __init__(self) -> None:
        self._gates: dict[int, Gate] = {}

    async def obey(self, verb: str, arguments: list, fields: dict) -> int:
        if verb == "link":
            gate = Gate(tuple(arguments), Shape(**fields))
            port = await gate.listen()
            self._gates[port] = gate
            return port
        gate = self._gates[arguments[0]]
        if verb == "shape":
            gate.shape = Shape(**fields)
        else:
            {"cut": gate.cut, "heal": gate.heal, "reset": gate.reset}[verb]()
        return 0


async def serve() -> None:
    gates, orders = Gates(), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        print(json.dumps(await gates.obey(*json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(serve())
