"""Many sessions on a chain whose hops have a machine each: how well do they keep each other busy across distance?

    python benchmarks/pipelining.py

One machine cannot show that with real blocks: three servers share its cores. Here the servers' schedulers are real,
each with an event loop of its own, but a batch of n rows "computes" by sleeping fixed + n x row, and a link is a timer;
the client gathers rows and applies a head that sleeps likewise. What is measured is only who waits for whom.

The bound is the best of any number m of micro-batches of equal size: sessions / max(once round the chain with a
batch's compute at each stop, m batches at one hop).
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Sequence

import torch
import uvloop

from harness.report import Report, make_parser, print_table
from swarm.server.admission.line import Ask, Place
from swarm.server.links import Links
from swarm.server.observers import SessionObserver
from swarm.server.scheduler.batching import BatchLimits
from swarm.server.scheduler.scheduler import Scheduler
from swarm.server.session.outbox import Outbox
from swarm.server.session.reservation import Reservation
from swarm.server.session.session import Session
from swarm.server.session.steps import Slice
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.journal import Journals

HOPS = 3
HIDDEN = 8
ROW = codec.encode(torch.ones(1, HIDDEN), torch.float32)
HEAD_S = (0.002, 0.002)
GATHER_S = 0.001
MODELS = {  # seconds of a batch at one hop: fixed, and for each row
    "demo, float32, 10 blocks": (0.0166, 0.0024),
    "1.5 G, float32, 8 blocks": (0.083, 0.0031),
    "7 G, int8, 10 blocks": (0.083, 0.016),
    "bound by arithmetic": (0.01, 0.03),
}
Costs = tuple[float, float]


class SleepingRunner:
    """Stands in for swarm.server.scheduler.runner.Runner."""

    def __init__(self, costs: Costs):
        self._fixed_s, self._row_s = costs
        self.busy_s, self.sizes = 0.0, []

    def run(self, slices: Sequence[Slice]) -> tuple[list[torch.Tensor], float]:
        compute_s = self._fixed_s + self._row_s * len(slices)
        time.sleep(compute_s)
        self.busy_s += compute_s
        self.sizes.append(len(slices))
        return [torch.ones(item.count, HIDDEN) for item in slices], compute_s

    def prepare_next(self, slices: Sequence[Slice]) -> None:
        pass


class PassOn(SessionObserver):
    """Tells the next hop of what one session has computed."""

    def __init__(self, session: bytes, send: Callable[[bytes, int], None]):
        self._session, self._send = session, send

    def computed(self, item: Slice, outputs: codec.Rows) -> None:
        self._send(self._session, item.position)


def open_session(number: bytes, send: Callable[[bytes, int], None]) -> Session:
    request = pb.Open(session_id=number, wire_dtype=pb.FLOAT32, max_tokens=4000)
    reservation = Reservation.of(request, list(range(250)), Place(Ask(number, 250), 0.0, 0.0, 0))
    links = Links(2**20, lambda link, step: None, lambda link, refusal: None)
    return Session(request, reservation, PassOn(number, send), Outbox(), Journals(HIDDEN, 0), links)


class Hop:
    """A scheduler in a thread of its own. send: called with the session and position of every row computed."""

    def __init__(self, costs: Costs, sessions: Sequence[bytes], send: Callable[[bytes, int], None]):
        self.runner, self._send = SleepingRunner(costs), send
        self.loop = uvloop.new_event_loop()
        self._ids, self._ready = sessions, threading.Event()
        threading.Thread(target=self.loop.run_until_complete, args=[self._serve()], daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._scheduler = Scheduler(self.runner, lambda session: None, BatchLimits())
        self._sessions = {}
        for number in self._ids:
            self._sessions[number] = open_session(number, self._send)
            self._scheduler.add(self._sessions[number])
        self._stop = asyncio.Event()
        self._ready.set()
        working = asyncio.create_task(self._scheduler.run())
        await self._stop.wait()
        working.cancel()

    def accept(self, session: bytes, position: int) -> None:
        step = pb.Step(session_id=session, position=position, count=1, want=pb.LAST, hidden=ROW)
        self._sessions[session].accept(step)
        self._scheduler.wake()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)


def later(loop: asyncio.AbstractEventLoop, delay_s: float, call: Callable, *arguments: object) -> None:
    loop.call_soon_threadsafe(lambda: loop.call_later(delay_s, call, *arguments))


class Client:
    """Sends every session's next row as soon as the head has seen the last one."""

    def __init__(self, costs: Costs, one_way_s: float, sessions: int):
        self._one_way_s, self._waiting, self._arrived = one_way_s, [], asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ids = [bytes([number]) * 16 for number in range(sessions)]
        self.stamps: dict[bytes, list[float]] = {number: [] for number in ids}
        self.hops: list[Hop] = []
        following, receive = self._loop, self._receive
        for _ in range(HOPS):  # from the last to the first
            hop = Hop(costs, ids, self._sender(following, receive))
            self.hops.insert(0, hop)
            following, receive = hop.loop, hop.accept
        self._send = self._sender(following, receive)

    def _sender(self, loop: asyncio.AbstractEventLoop, receive: Callable[[bytes, int], None]) -> Callable:
        return lambda session, position: later(loop, self._one_way_s, receive, session, position)

    def _receive(self, session: bytes, position: int) -> None:
        self._waiting.append((session, position))
        self._arrived.set()

    async def generate(self, tokens: int) -> None:
        self._waiting = [(session, -1) for session in self.stamps]
        while min(map(len, self.stamps.values())) < tokens:
            for session, position in await self._next_rows():
                self.stamps[session].append(time.perf_counter())
                self._send(session, position + 1)

    async def _next_rows(self) -> list[tuple[bytes, int]]:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        seen = 0
        while seen < len(self._waiting):  # as swarm.generate.heads gathers them
            seen = len(self._waiting)
            await asyncio.sleep(GATHER_S)
        rows, self._waiting = self._waiting, []
        await self._loop.run_in_executor(None, time.sleep, HEAD_S[0] + HEAD_S[1] * len(rows))
        return rows


async def measure(costs: Costs, round_trip_s: float, sessions: int, tokens: int) -> dict[str, float]:
    """Over the second half of the tokens."""
    client = Client(costs, round_trip_s / 2, sessions)
    started = time.perf_counter()
    await client.generate(tokens)
    elapsed_s = time.perf_counter() - started
    for hop in client.hops:
        hop.stop()
    halves = [stamps[tokens // 2 :] for stamps in client.stamps.values()]
    sizes = client.hops[0].runner.sizes
    return {
        "tokens/s": sum((len(half) - 1) / (half[-1] - half[0]) for half in halves if len(half) > 1),
        "busy": statistics.mean(hop.runner.busy_s for hop in client.hops) / elapsed_s,
        "rows in a batch": statistics.mean(sizes[len(sizes) // 2 :]),
    }


def bound(costs: Costs, round_trip_s: float, sessions: int) -> float:
    """Tokens per second of the best division into equal micro-batches."""

    def round_s(count: int) -> float:
        rows = sessions / count
        batch_s, head_s = costs[0] + costs[1] * rows, HEAD_S[0] + HEAD_S[1] * rows
        return max(HOPS * batch_s + head_s + (HOPS + 1) * round_trip_s / 2, count * batch_s)

    return max(sessions / round_s(count) for count in range(1, sessions + 1))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--round-trips-ms", type=float, nargs="+", default=[0.0, 100.0])
    args = parser.parse_args()
    report = Report(args)
    rows = []
    for name, costs in MODELS.items():
        for round_trip_ms in args.round_trips_ms:
            best = bound(costs, round_trip_ms / 1000, args.sessions)
            figures = uvloop.run(measure(costs, round_trip_ms / 1000, args.sessions, args.tokens))
            rows.append({"blocks of": name, "round trip ms": round_trip_ms, **figures, "bound": best,
                         "of bound": figures["tokens/s"] / best})  # fmt: skip
    print_table(rows)
    report.save("pipelining", {"sessions": args.sessions, "rows": rows})


if __name__ == "__main__":
    main()
