"""Hops in this process, without a network: they add one to what comes in, sign for it, and note what they are paid."""

import asyncio
from dataclasses import dataclass, field

import torch

from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Quote
from swarm.wire.formats.receipts import NOTHING, Terms
from swarm.wire.identity import Identity, address_of

HIDDEN = 4


@dataclass
class MemoryHop:
    """One peer, and the connection to it."""

    start: int
    stop: int
    others: "dict[str, MemoryHop]"  # of the same swarm, by peer id
    asks: Quote = field(default_factory=Quote)
    dies_at: int | None = None  # the position at which it falls silent and its streams break
    identity: Identity = field(default_factory=Identity)
    vouchers: list[bytes] = field(default_factory=list)
    opened: list[pb.Open] = field(default_factory=list)
    calls: "dict[bytes, MemoryCall]" = field(default_factory=dict)  # by session

    def __post_init__(self) -> None:
        self.others[self.peer_id] = self

    @property
    def peer_id(self) -> str:
        return self.identity.peer_id

    @property
    def address(self) -> str:
        return f"memory:{self.start}:{self.stop}"

    @property
    def hop(self) -> Hop:
        endpoint = pb.Endpoint(peer_id=self.peer_id, host="127.0.0.1", port=1)
        info = PeerInfo(self.peer_id, "m", "r", self.start, self.stop, 30, "float32", "none", "", endpoint, 0, 0, 2**60,
                        pb.Load(), asks=self.asks)  # fmt: skip
        return Hop(info, self.start, self.stop)

    def session(self) -> "MemoryCall":
        return MemoryCall(self)


class MemoryCall:
    """A session's stream to one hop."""

    def __init__(self, peer: MemoryHop):
        self._peer, self._outbox = peer, asyncio.Queue()
        self._request: pb.Open | None = None
        self.closed = False

    def cancel(self) -> None:
        self.closed = True

    async def read(self) -> pb.ToClient:
        return await self._outbox.get()

    async def write(self, message: pb.ToServer) -> None:
        if self.closed:
            raise asyncio.InvalidStateError("finished")
        kind = message.WhichOneof("kind")
        getattr(self, f"_on_{kind}")(getattr(message, kind))

    def _on_open(self, request: pb.Open) -> None:
        info = self._peer.hop.peer
        terms = Terms(request.session_id, request.seq, address_of(info.peer_id), request.start, request.stop,
                      request.weights or NOTHING, info.format, "", request.wire_dtype, NOTHING)  # fmt: skip
        self._request, self._signed, self._given = request, [], 0
        self._writer = ReceiptWriter(self._peer.identity, terms, lambda signed: self._signed.append(signed.encode()))
        self._peer.opened.append(request)
        self._peer.calls[request.session_id] = self
        self._outbox.put_nowait(pb.ToClient(opened=pb.Opened(pushes=True)))

    def _on_step(self, step: pb.Step) -> None:
        if self._peer.dies_at is not None and step.position >= self._peer.dies_at:
            self.closed = True
            failure = pb.Failure(code="PeerUnreachable", message="it is gone")
            self._outbox.put_nowait(pb.ToClient(failure=failure))
            return
        shape = step.count, HIDDEN
        came = codec.read_rows(step.hidden, shape, torch.float32)
        goes = codec.to_rows(came.tensor() + 1, torch.float32)
        self._writer.record(step.position, came, goes, step.prompt)
        if step.seal:
            self._writer.seal(step.receipts)
        receipts, self._given = [*step.receipts, *self._signed[self._given :]], len(self._signed)
        visits = [*step.visits, pb.Visit(compute_us=10)]
        out = pb.Step(position=step.position, count=step.count, seq=step.seq, want=step.want, seal=step.seal,
                      prompt=step.prompt, visits=visits, receipts=receipts)  # fmt: skip
        if step.replay and self._request.ends_replay:
            return
        following = self._peer.others.get(self._request.next.peer_id)
        if following:
            out.hidden.CopyFrom(goes.message())
            following.calls[self._request.session_id]._on_step(out)
            return
        rows = goes if step.want == pb.ALL else goes[-1:] if step.want == pb.LAST else None
        if rows is not None:
            out.hidden.CopyFrom(rows.message())
        self._outbox.put_nowait(pb.ToClient(result=out))

    def _on_probe(self, probe: pb.Probe) -> None:
        self._outbox.put_nowait(pb.ToClient(progress=pb.Progress(seq=probe.seq)))

    def _on_seal(self, seal: pb.Seal) -> None:
        self._writer.seal()
        self._outbox.put_nowait(pb.ToClient(sealed=pb.Sealed(seq=seal.seq, receipts=self._signed[seal.first :])))

    def evict(self, signs: bool = True) -> None:
        """End the session, as a server does that needs the room. signs: for what it has computed, before."""
        if signs:
            self._writer.seal()
            self._outbox.put_nowait(pb.ToClient(sealed=pb.Sealed(receipts=self._signed[self._given :])))
        self._outbox.put_nowait(pb.ToClient(failure=pb.Failure(code="PeerBusy", message="others need the room")))

    def _on_paid(self, paid: pb.Paid) -> None:
        self._peer.vouchers.append(paid.voucher)
        if paid.seq:
            self._outbox.put_nowait(pb.ToClient(paid_up=pb.PaidUp(seq=paid.seq)))


OPTIONS = SessionOptions("m", "r", HIDDEN, torch.float32, 100, 1.0, 1.0)


def chain_of(*ranges: tuple[int, int], asks: Quote | None = None) -> list[MemoryHop]:
    swarm: dict[str, MemoryHop] = {}
    return [MemoryHop(start, stop, swarm, asks or Quote()) for start, stop in ranges]
