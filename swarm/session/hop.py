"""The client's own stream to one hop of a session's chain."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
from google.protobuf.message import Message

from swarm.errors import PeerBusy, PeerUnreachable, SwarmError, from_wire
from swarm.results import HopTiming
from swarm.route.means import RunningMean
from swarm.route.route import Hop
from swarm.wire import messages_pb2 as pb
from swarm.wire.listening import heard
from swarm.wire.peer_names import short_id
from swarm.wire.transport import Peer, unreachable

SILENCE_S = 0.35  # a hop that says nothing for so long when asked, beyond the way there and back, is taken for hung
MOST_ROUND_TRIP_S = 1.0  # that counts for that
REROUTE_TIMEOUT_S = 5.0  # dialling another hop, which may be behind a firewall, included
REQUEST_TIMEOUT_S = 2.0  # for what is asked of a hop beside its work: later than this, it counts as withheld


Stream = grpc.aio.StreamStreamCall[Message, pb.ToClient]


class HopFailed(SwarmError):
    """A chain cannot go on because of one of its peers. `cause` is the error, `peer_ids` who is to blame, `load` how
    busy that one says it is, if it does."""

    def __init__(self, cause: SwarmError, peer_ids: Sequence[str], load: pb.Load | None = None):
        super().__init__(str(cause))
        self.cause, self.peer_ids, self.load = cause, tuple(peer_ids), load

    def again(self) -> "HopFailed":
        """The same, to be raised in another place: an exception raised twice drags its first traceback along."""
        return HopFailed(self.cause, self.peer_ids)


class HopStream:
    """One hop. Answers to what was asked here are returned to the asker; everything else goes to `receive`."""

    def __init__(
        self,
        hop: Hop,
        peer: Peer,
        receive: "Receive",
        next_seq: Callable[[], int],
        on_close: Callable[["HopStream"], None] = lambda stream: None,
        filled: bool = True,
    ):
        """next_seq: a number that is newer than all before. filled: False: it replaces another, and its cache is not
        complete before it has answered."""
        self.hop, self.peer = hop, peer
        self.timing = HopTiming()
        self.sent_bytes = 0  # of activations, on this stream
        self.received_bytes = 0
        self.failure: HopFailed | None = None  # why it has to be replaced
        self.filled = filled
        self.answered = 0  # positions below this were answered through this hop
        self._round_trip_s = RunningMean(1.0, fall=0.2, start=0.0)  # of opening and of probes
        self._receive, self._on_close = receive, on_close
        self._stream: Stream | None = None
        self._reader: asyncio.Task[None] | None = None
        self._questions = _Questions(next_seq)
        self._writing = asyncio.Lock()  # two writes at once break a gRPC stream off, on this side only

    @property
    def round_trip_s(self) -> float:
        """How long it takes to answer, of late: up at once, down slowly, as where it or this process is busy."""
        return self._round_trip_s.value

    async def open(self, request: pb.Open, timeout_s: float) -> pb.Opened:
        """Open the session on this hop. Raises HopFailed if it refuses or does not answer."""
        started = time.monotonic()
        stream = self._stream = self.peer.session()
        try:
            answer = await heard(_opened(stream, request), timeout_s)
        except TimeoutError as error:
            raise self.failed(f"did not answer within {timeout_s:g} s") from error
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error
        if not isinstance(answer, pb.ToClient):
            raise self.failed("closed the stream")
        if answer.HasField("failure"):
            raise self._reported(answer.failure)
        if not answer.HasField("opened"):
            raise self.failed("answered with something unexpected")
        self._round_trip_s.observe(time.monotonic() - started)
        self._reader = asyncio.create_task(self._read())
        return answer.opened

    def close(self) -> None:
        """End the session on this hop. Does not wait."""
        if self._reader:
            self._reader.cancel()
        if self._stream:
            self._stream.cancel()
        self._questions.cancel()
        self._on_close(self)

    async def send(self, step: pb.Step) -> None:
        """Raises HopFailed if the stream is broken."""
        self.sent_bytes += len(step.hidden.data)
        await self.tell(pb.ToServer(step=step))

    async def tell(self, message: pb.ToServer) -> None:
        """Send something that is not answered. Raises HopFailed if the stream is broken."""
        if self._stream is None:
            raise self.failed("was not opened")
        try:
            async with self._writing:
                await self._stream.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error

    async def request(self, message: pb.Seal | pb.Fetch | pb.Paid) -> "Answer | None":
        """Ask for something beside the work, and wait for it; None if the hop is silent or gone. Numbers `message`."""
        try:
            return await self._ask(message, REQUEST_TIMEOUT_S + self.round_trip_s)
        except (TimeoutError, HopFailed):
            return None

    async def probe(self) -> pb.Progress | None:
        """How far this hop has come; None if it is silent or gone."""
        asked_s = time.monotonic()
        try:
            answer = await self._ask(pb.Probe(), SILENCE_S + min(self.round_trip_s, MOST_ROUND_TRIP_S))
        except (TimeoutError, HopFailed):
            return None
        self._round_trip_s.observe(time.monotonic() - asked_s)
        return answer if isinstance(answer, pb.Progress) else None

    async def reroute(self, request: pb.Reroute) -> pb.Rerouted:
        """Give this hop another successor, from a sequence number on that is filled in here. Raises HopFailed if it
        fails or hangs."""
        asking = asyncio.ensure_future(self._ask(request, REROUTE_TIMEOUT_S))
        try:
            done, _ = await asyncio.wait({asking}, timeout=SILENCE_S)
            if not done and await self.probe() is None:
                raise self.failed("hangs")
            answer = await asking
            if not isinstance(answer, pb.Rerouted):
                raise self.failed("answered with something unexpected")
            return answer
        except TimeoutError as error:
            raise self.failed(f"did not connect to another hop within {REROUTE_TIMEOUT_S:g} s") from error
        finally:
            asking.cancel()

    def account(self, visit: pb.Visit, stop: int) -> None:
        """Note what the hop says of an answered step, which ended before position `stop`."""
        self.answered, self.filled = stop, True
        self.timing.steps += 1
        self.timing.queue_s += visit.queue_us / 1e6
        self.timing.compute_s += visit.compute_us / 1e6

    def failed(self, what: str) -> HopFailed:
        """The hop is no good any more; returns the error to raise."""
        return self._mark(PeerUnreachable(f"peer {short_id(self.peer.peer_id)} at {self.peer.address} {what}"))

    async def _ask(self, message: "Question", timeout_s: float) -> "Answer":
        """Raises TimeoutError, or HopFailed if the hop fails meanwhile."""
        with self._questions.asked(message) as answer:
            return await heard(self._exchange(message, answer), timeout_s)

    async def _exchange(self, message: "Question", answer: "asyncio.Future[Answer]") -> "Answer":
        await self.tell(_to_server(message))
        return await answer

    async def _read(self) -> None:
        assert self._stream is not None
        try:
            while isinstance(message := await self._stream.read(), pb.ToClient):
                await self._sort(message)
        except grpc.RpcError as error:
            failure = self._broken(error)
        else:
            failure = self.failed("closed the stream")
        await self._receive(self, failure)

    async def _sort(self, message: pb.ToClient) -> None:
        kind = message.WhichOneof("kind")
        if kind in ("rerouted", "progress", "rows", "sealed", "paid_up"):
            answer = getattr(message, kind)
            if kind == "sealed" and not answer.seq:
                await self._receive(self, message)
            else:
                self._questions.answered(answer)
        elif kind == "failure":
            await self._receive(self, self._reported(message.failure))
        elif kind in ("result", "relay", "leaving"):
            step = message.result if kind == "result" else message.relay
            self.received_bytes += len(step.hidden.data)
            await self._receive(self, message)
        else:
            await self._receive(self, self.failed("answered with something unexpected"))

    def _reported(self, failure: pb.Failure) -> HopFailed:
        """What the hop says went wrong. If that is the request's own fault, the hop is none the worse for it."""
        cause = from_wire(failure.code, failure.message)
        error = HopFailed(cause, [self.hop.peer.peer_id], failure.load if failure.HasField("load") else None)
        if self._reader is None:  # it refused to open the session, which is no failure of its own
            return error
        return self._mark(cause) if is_recoverable(cause) else error

    def _broken(self, error: Exception) -> HopFailed:
        if isinstance(error, grpc.RpcError):
            return self._mark(unreachable(self.peer, error))
        return self.failed("closed the stream")

    def _mark(self, cause: SwarmError) -> HopFailed:
        self.failure = self.failure or HopFailed(cause, [self.hop.peer.peer_id])
        self._questions.fail(self.failure)
        return self.failure.again()


class _Questions:
    """What was asked of one hop, and is not answered yet."""

    def __init__(self, next_seq: Callable[[], int]):
        self._next_seq = next_seq
        self._waiting: dict[int, asyncio.Future[Answer]] = {}  # by sequence number

    @contextmanager
    def asked(self, message: "Question") -> Iterator["asyncio.Future[Answer]"]:
        """Numbers `message`, which is going to be sent, and gives what will be its answer."""
        seq = message.seq = self._next_seq()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[seq] = answer
        try:
            yield answer
        finally:
            self._waiting.pop(seq, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # it may have come after the asker gave up

    def answered(self, answer: "Answer") -> None:
        asked = self._waiting.get(answer.seq)
        if asked and not asked.done():
            asked.set_result(answer)

    def fail(self, failure: HopFailed) -> None:
        """No answer will come."""
        for asked in self._waiting.values():
            if not asked.done():
                asked.set_exception(failure.again())

    def cancel(self) -> None:
        for asked in self._waiting.values():
            asked.cancel()


Question = pb.Probe | pb.Reroute | pb.Seal | pb.Fetch | pb.Paid
Answer = pb.Progress | pb.Rerouted | pb.Sealed | pb.Rows | pb.PaidUp
Receive = Callable[[HopStream, pb.ToClient | HopFailed], Awaitable[None]]


def _to_server(message: Question) -> pb.ToServer:
    match message:
        case pb.Probe():
            return pb.ToServer(probe=message)
        case pb.Reroute():
            return pb.ToServer(reroute=message)
        case pb.Seal():
            return pb.ToServer(seal=message)
        case pb.Fetch():
            return pb.ToServer(fetch=message)
        case pb.Paid():
            return pb.ToServer(paid=message)


async def _opened(stream: Stream, request: pb.Open) -> object:
    """What the hop says to that."""
    await stream.write(pb.ToServer(open=request))
    return await stream.read()


def is_recoverable(cause: SwarmError) -> bool:
    """Whether another peer in the failed one's place would help: not if the request itself was wrong."""
    return isinstance(cause, PeerUnreachable | PeerBusy) or type(cause) is SwarmError
