"""The client's own stream to one hop of a session's chain."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import grpc

from swarm.errors import PeerBusy, PeerUnreachable, SwarmError, from_wire
from swarm.market.channel.invoice import HopInvoice
from swarm.results import HopTiming
from swarm.route.route import Hop
from swarm.verify.receipts.checking import HopReceipts
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import Peer, unreachable

SILENCE_S = 0.35  # a hop that says nothing for so long when asked, beyond the way there and back, is taken for hung
REROUTE_TIMEOUT_S = 5.0  # dialling another hop, which may be behind a firewall, included
EVIDENCE_TIMEOUT_S = 2.0  # for receipts and rows out of a journal: later than this, they count as withheld


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

    def __init__(self, hop: Hop, peer: Peer, receive: "Receive"):
        self.hop, self.peer = hop, peer
        self.timing = HopTiming()
        self.sent_bytes = 0  # of activations, on this stream
        self.received_bytes = 0
        self.failure: HopFailed | None = None  # why it has to be replaced
        self.filled = True  # False: it replaces another, and its cache may not be complete yet
        self.receipts: HopReceipts  # once it is open
        self.bill: HopInvoice | None = None  # None: it works for nothing
        self.answered = 0  # positions below this were answered through this hop
        self.round_trip_s = 0.0  # of opening, which is more than one way there and back
        self._receive = receive
        self._stream: grpc.aio.StreamStreamCall | None = None
        self._reader: asyncio.Task | None = None
        self._asked: dict[int, asyncio.Future] = {}  # by sequence number

    async def open(self, request: pb.Open, timeout_s: float) -> pb.Opened:
        """Open the session on this hop. Raises HopFailed if it refuses or does not answer."""
        started = time.monotonic()
        self._stream = self.peer.session()
        try:
            async with asyncio.timeout(timeout_s):
                await self._stream.write(pb.ToServer(open=request))
                answer = await self._stream.read()
        except TimeoutError as error:
            raise self.failed(f"did not answer within {timeout_s:g} s") from error
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error
        if answer is grpc.aio.EOF:
            raise self.failed("closed the stream")
        if answer.HasField("failure"):
            raise self._reported(answer.failure)
        if not answer.HasField("opened"):
            raise self.failed("answered with something unexpected")
        self.round_trip_s = time.monotonic() - started
        if self.bill:
            self.bill.hear(answer.opened)
        self._reader = asyncio.create_task(self._read())
        return answer.opened

    def close(self) -> None:
        """End the session on this hop. Does not wait."""
        if self._reader:
            self._reader.cancel()
        if self._stream:
            self._stream.cancel()
        self._cancel_asked()
        if self.bill:
            self.bill.close()

    async def pay(self) -> None:
        """Send a voucher for all that is owed. Raises HopFailed if the stream is broken."""
        await self._write(pb.ToServer(paid=pb.Paid(voucher=self.bill.voucher())))

    async def pay_up(self, seq: int) -> None:
        """The same for what the hop's receipts say, and wait until it is there. seq: an unused sequence number."""
        self.bill.note_receipts(self.receipts.receipts)
        await self._ask_evidence(pb.ToServer(paid=pb.Paid(voucher=self.bill.voucher(), seq=seq)), seq)

    async def acknowledge(self, data: bytes, seq: int) -> None:
        """Send an acknowledgement of what was got, and wait until it is there. seq: an unused sequence number."""
        await self._ask_evidence(pb.ToServer(paid=pb.Paid(voucher=data, seq=seq)), seq)

    async def send(self, step: pb.Step) -> None:
        """Raises HopFailed if the stream is broken."""
        self.sent_bytes += len(step.hidden.data)
        await self._write(pb.ToServer(step=step))

    async def probe(self, seq: int) -> pb.Progress | None:
        """How far this hop has come; None if it is silent or gone."""
        try:
            return await self._ask(pb.ToServer(probe=pb.Probe(seq=seq)), seq, SILENCE_S + min(self.round_trip_s, 1.0))
        except (TimeoutError, HopFailed):
            return None

    async def reroute(self, request: pb.Reroute, probe_seq: int) -> pb.Rerouted:
        """Give this hop another successor. Raises HopFailed if it fails or hangs.

        request.seq, probe_seq: unused sequence numbers; the latter to find out whether it lives, if it takes long.
        """
        asking = asyncio.ensure_future(self._ask(pb.ToServer(reroute=request), request.seq, REROUTE_TIMEOUT_S))
        try:
            done, _ = await asyncio.wait({asking}, timeout=SILENCE_S)
            if not done and await self.probe(probe_seq) is None:
                raise self.failed("hangs")
            return await asking
        except TimeoutError as error:
            raise self.failed(f"did not connect to another hop within {REROUTE_TIMEOUT_S:g} s") from error
        finally:
            asking.cancel()

    async def seal(self, seq: int, first: int | None = None, sketches: bool = False) -> pb.Sealed | None:
        """Let the hop sign what it has computed, and get its receipts from number `first` on, by default those that
        have not come yet; None if it is silent or gone. seq: an unused sequence number."""
        first = len(self.receipts.receipts) if first is None else first
        return await self._ask_evidence(pb.ToServer(seal=pb.Seal(seq=seq, first=first, sketches=sketches)), seq)

    async def fetch(self, position: int, count: int, seq: int) -> pb.Rows | None:
        """Outputs out of the hop's journal; None if it is silent or gone. seq: an unused sequence number."""
        return await self._ask_evidence(pb.ToServer(fetch=pb.Fetch(seq=seq, position=position, count=count)), seq)

    async def _ask_evidence(self, message: pb.ToServer, seq: int) -> "Answer | None":
        try:
            return await self._ask(message, seq, EVIDENCE_TIMEOUT_S + self.round_trip_s)
        except (TimeoutError, HopFailed):
            return None

    def account(self, visit: pb.Visit, stop: int) -> None:
        """Book what the hop says of an answered step, which ended before position `stop`."""
        self.answered = stop
        self.timing.steps += 1
        self.timing.queue_s += visit.queue_us / 1e6
        self.timing.compute_s += visit.compute_us / 1e6

    def failed(self, what: str) -> HopFailed:
        """The hop is no good any more; returns the error to raise."""
        return self._mark(PeerUnreachable(f"peer {self.peer.peer_id[-8:]} at {self.peer.address} {what}"))

    async def _write(self, message: pb.ToServer) -> None:
        try:
            await self._stream.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(error) from error

    async def _ask(self, message: pb.ToServer, seq: int, timeout_s: float) -> "Answer":
        """Raises TimeoutError, or HopFailed if the hop fails meanwhile."""
        answer = self._asked[seq] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._write(message)
                return await answer
        finally:
            self._asked.pop(seq, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # it may have come after the asker gave up

    async def _read(self) -> None:
        try:
            while (message := await self._stream.read()) is not grpc.aio.EOF:
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
            asked = self._asked.get(answer.seq)
            if asked and not asked.done():
                asked.set_result(answer)
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
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(self.failure.again())
        return self.failure.again()

    def _cancel_asked(self) -> None:
        for asked in self._asked.values():
            asked.cancel()


Answer = pb.Progress | pb.Rerouted | pb.Rows | pb.Sealed | pb.PaidUp
Receive = Callable[[HopStream, pb.ToClient | HopFailed], Awaitable[None]]


def is_recoverable(cause: SwarmError) -> bool:
    """Whether another peer in the failed one's place would help: not if the request itself was wrong."""
    return isinstance(cause, PeerUnreachable | PeerBusy) or type(cause) is SwarmError
