"""The hops of one session, and what travels between them and the client."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from swarm.route.route import Hop
from swarm.session.hop import HopFailed, HopStream
from swarm.session.limits import ClientLimits
from swarm.session.observers import HopObserver
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.journal import Journal, as_replay
from swarm.wire.session_id import new_session_id
from swarm.wire.transport import Peer

T = TypeVar("T")


@dataclass(frozen=True)
class SessionOptions:
    """What a session is opened for."""

    model: str
    revision: str
    hidden_size: int
    wire_dtype: torch.dtype
    max_tokens: int  # KV positions reserved on every hop
    open_timeout_s: float
    step_timeout_s: float  # for an answer from a chain of which every hop says that it is at work
    coverage_timeout_s: float = ClientLimits.coverage_timeout_s  # wait for blocks that nobody serves any more
    weights: Callable[[int, int], bytes] = lambda start, stop: b""  # root that a range of blocks should have
    max_repairs: int = 8  # during one `forward`; each replaces all hops that are broken
    priority_fee: int = 0  # nano-credits per block-token above the price, for going first where peers are full
    background: bool = False  # computed while nothing else waits; gives up its place to whoever needs it


class Chain:
    """A session's streams, one to each hop in order; its hops may be replaced while it lives.

    What the last hop answers, and failures, wait in `inbox`. Activations that a hop could not push are passed on to the
    next from here.
    """

    def __init__(
        self,
        options: SessionOptions,
        observer: HopObserver | None = None,
        on_leaving: Callable[[HopStream], None] = lambda stream: None,
    ):
        """on_leaving: told of a hop that says that it will leave."""
        self.options = options
        self.observer = observer or HopObserver()
        self.id = new_session_id()
        self.streams: list[HopStream] = []
        self.retired: list[HopStream] = []
        self.inbox: asyncio.Queue[pb.Step | HopFailed] = asyncio.Queue()
        self.sent = Journal(options.hidden_size, codec.wire_dtype(options.wire_dtype))  # to the first hop
        self._shadow: HopStream | None = None  # will take the first hop's place, and gets a copy of what that gets
        self._on_leaving = on_leaving
        self._seq = 0

    def next_seq(self) -> int:
        """A number for whatever is sent next: newer than everything before."""
        self._seq += 1
        return self._seq

    async def open(self, hops: Sequence[Hop], peers: Sequence[Peer]) -> None:
        """Open the session on all hops at once. Raises HopFailed naming the first hop that refused."""
        self.streams = await self.open_streams(hops, peers)

    async def open_streams(
        self,
        hops: Sequence[Hop],
        peers: Iterable[Peer],
        after: HopStream | None = None,
        timeout_s: float = math.inf,
        live_from: int = 0,
        filled: bool = True,
    ) -> list[HopStream]:
        """Open the session on consecutive `hops`, which reserves their pages and connects each to the next, and the
        last to `after`. All or none: raises HopFailed naming the first that refused, or what the observer raises.

        live_from: positions below this will be replayed to them. filled: False: only when they are in their place.
        """
        timeout_s = min(timeout_s, self.options.open_timeout_s)
        streams = [
            HopStream(hop, peer, self._receive, self.next_seq, self.observer.closed, filled)
            for hop, peer in zip(hops, peers, strict=True)
        ]
        followers = [*streams[1:], after]
        requests = [self._open_request(one.hop, following) for one, following in zip(streams, followers, strict=True)]
        openings = list(zip(streams, requests, strict=True))
        try:
            await _all(self.observer.opening(stream, request, live_from) for stream, request in openings)
            answers = await _all(stream.open(request, timeout_s) for stream, request in openings)
        except BaseException:  # also when the session ends meanwhile: no hop may keep its pages
            for stream in streams:
                stream.close()
            raise
        for (stream, request), answer in zip(openings, answers, strict=True):
            self.observer.opened(stream, request, answer, live_from)
        return streams

    def _open_request(self, hop: Hop, following: HopStream | None) -> pb.Open:
        request = pb.Open(
            session_id=self.id,
            model=self.options.model,
            revision=self.options.revision,
            start=hop.start,
            stop=hop.stop,
            wire_dtype=codec.wire_dtype(self.options.wire_dtype),
            max_tokens=self.options.max_tokens,
            weights=self.options.weights(hop.start, hop.stop),
            quote=hop.peer.record_hash,
            seq=self.next_seq(),  # what is still on its way to the hop that this one replaces is older
        )
        if self.options.priority_fee or self.options.background:
            request.payment.bid, request.payment.batch = self.options.priority_fee, self.options.background
        if following:
            request.next.CopyFrom(following.hop.peer.endpoint)
            request.ends_replay = following in self.streams and following.filled
        return request

    def close(self) -> None:
        """End the session. Does not wait."""
        for stream in [*self.streams, *self.retired]:
            stream.close()

    def splice(self, first: int, last: int, streams: Sequence[HopStream]) -> None:
        """Put `streams` in the place of hops `first` to `last`, and let these go."""
        leaving = self.streams[first : last + 1]
        self.streams[first : last + 1] = streams
        self.retired += leaving
        for stream in leaving:
            stream.close()

    async def send(self, position: int, hidden: torch.Tensor, want: pb.Want, prompt: bool = False) -> int:
        """Send a step to the first hop. hidden: [tokens, hidden_size]. prompt: it is priced as prefill. Returns its
        sequence number. Raises HopFailed."""
        rows, shadow = codec.to_rows(hidden, self.options.wire_dtype), self._shadow
        self.sent.record(position, rows.data)
        hops = [*self.streams, shadow] if shadow else self.streams
        seal = self.observer.sending(hops, position, rows, prompt)
        self._seq += 1
        step = pb.Step(
            position=position, count=len(rows.digests), want=want, hidden=rows.message(), seal=seal, prompt=prompt,
            seq=self._seq,
        )  # fmt: skip
        await self.streams[0].send(step)
        if shadow and shadow is self._shadow:
            try:
                await shadow.send(as_replay(step, self.next_seq()))
            except HopFailed:  # whoever is filling it will notice, and the chain is none the worse for it
                self._shadow = None
        return step.seq

    async def replay(self, to: HopStream, stop: int, start: int = 0) -> None:
        """Send the first hop's inputs of positions `start` to `stop` again. Raises HopFailed."""
        for step in self.sent.steps(stop, start):
            await to.send(as_replay(step, self.next_seq()))

    async def follow(self, shadow: HopStream) -> None:
        """Send `shadow` all that the first hop was sent, and from now on copies of what comes. Raises HopFailed."""
        held = 0
        while held < self.sent.length:  # it grows meanwhile; a live step must not overtake what precedes it
            held, start = self.sent.length, held
            await self.replay(shadow, held, start)
        self._shadow = shadow

    def unfollow(self) -> None:
        """Send no more copies."""
        self._shadow = None

    def broken(self) -> list[tuple[int, int]]:
        """Runs (first, last) of neighbouring hops that have to be replaced."""
        runs: list[tuple[int, int]] = []
        for index, stream in enumerate(self.streams):
            if stream.failure is None:
                continue
            if runs and runs[-1][1] == index - 1:
                runs[-1] = (runs[-1][0], index)
            else:
                runs.append((index, index))
        return runs

    async def _receive(self, stream: HopStream, message: pb.ToClient | HopFailed) -> None:
        """Sort what a hop says: results and failures to whoever waits, relays to the next hop."""
        if stream not in self.streams:
            return  # replaced, or not yet in its place: its failures show when it is used
        index = self.streams.index(stream)
        if isinstance(message, HopFailed):
            self.inbox.put_nowait(self._both_failed(index, message) if index else message)
            return
        kind, is_last = message.WhichOneof("kind"), index == len(self.streams) - 1
        if kind == "leaving":
            self._on_leaving(stream)
        elif kind == "result" and is_last:
            self.inbox.put_nowait(message.result)
        elif kind == "relay" and not is_last:
            await self._relay(index, message.relay)
        elif kind == "sealed":
            self.observer.parting(stream, message.sealed.receipts)
        else:
            self.inbox.put_nowait(stream.failed("answered with something unexpected"))

    def _both_failed(self, index: int, refusal: HopFailed) -> HopFailed:
        """What a hop refuses, the hop before has sent it, if the first one took what the client sent. One of the two
        lies, and which cannot be told: both are replaced."""
        if self.streams[index].failure:
            return refusal
        self.streams[index - 1].failed(f"sends what the next hop refuses: {refusal}")
        return self.streams[index].failed(f"refuses what the hop before sends: {refusal}")

    async def _relay(self, index: int, step: pb.Step) -> None:
        """Under its own sequence number: it is not news, and may have been overtaken."""
        try:
            await self.streams[index + 1].send(step)
        except HopFailed as failure:
            self.inbox.put_nowait(failure)


async def _all(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """What each returns, once all have ended. Raises the first error, one that is no HopFailed before the others."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise next((one for one in failures if not isinstance(one, HopFailed)), failures[0])
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
