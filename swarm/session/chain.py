"""The hops of one session, and what travels between them and the client."""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from swarm.market.channel.wallet import Wallet
from swarm.route.route import Hop
from swarm.session.hop import HopFailed, HopStream
from swarm.verify.receipts.checking import ChainReceipts
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import NOTHING, Terms, Tokens
from swarm.wire.identity import address_of
from swarm.wire.journal import Journal, as_replay
from swarm.wire.session_id import new_session_id
from swarm.wire.transport import Peer


@dataclass(frozen=True)
class SessionOptions:
    model: str
    revision: str
    hidden_size: int
    wire_dtype: torch.dtype
    max_tokens: int  # KV positions reserved on every hop
    open_timeout_s: float
    step_timeout_s: float  # for an answer from a chain of which every hop says that it is at work
    coverage_timeout_s: float = 30.0  # wait for somebody to serve blocks that nobody serves any more
    weights: Callable[[int, int], bytes] = lambda start, stop: b""  # root that a range of blocks should have
    max_repairs: int = 8  # hops replaced without a step answered in between
    wallet: Wallet | None = None  # None: only for peers that work for nothing
    prompt_tokens: int = 0  # of max_tokens, those that are there at the beginning
    bid: int = 0  # nano-credits per block-token above the price
    batch: bool = False  # computed while nothing else waits; gives up its place to whoever needs it


class Chain:
    """A session's streams, one to each hop in order; its hops may be replaced while it lives.

    What the last hop answers, and failures, wait in `inbox`. Activations that a hop could not push are passed on to the
    next from here.
    """

    def __init__(self, options: SessionOptions):
        self.options = options
        self.id = new_session_id()
        self.streams: list[HopStream] = []
        self.retired: list[HopStream] = []
        self.inbox: asyncio.Queue[pb.Step | HopFailed] = asyncio.Queue()
        self.receipts = ChainReceipts()
        self.sent = Journal(options.hidden_size, codec.wire_dtype(options.wire_dtype))  # to the first hop
        self.shadow: HopStream | None = None  # will take the first hop's place, and gets a copy of what that gets
        self.on_leaving: Callable[[HopStream], None] = lambda stream: None
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
    ) -> list[HopStream]:
        """Open the session on consecutive `hops`, which reserves their pages and connects each to the next, and the
        last to `after`. All or none: raises HopFailed naming the first that refused.

        live_from: positions below this will be replayed to them.
        """
        timeout_s = min(timeout_s, self.options.open_timeout_s)
        streams = [HopStream(hop, peer, self._receive) for hop, peer in zip(hops, peers, strict=True)]
        requests = [
            self._open_request(stream.hop, following)
            for stream, following in zip(streams, [*streams[1:], after], strict=True)
        ]
        await self._arrange_payment(streams, requests, live_from)
        opening = [stream.open(request, timeout_s) for stream, request in zip(streams, requests, strict=True)]
        try:
            outcomes = await asyncio.gather(*opening, return_exceptions=True)
            failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            if failures:
                raise next((f for f in failures if not isinstance(f, HopFailed)), failures[0])
        except BaseException:  # also when the session ends meanwhile: no hop may keep its pages
            for stream in streams:
                stream.close()
            raise
        for stream, request in zip(streams, requests, strict=True):
            terms = _receipt_terms(stream.hop, request)
            stream.receipts = self.receipts.expect(terms, stream.hop.peer.peer_id, live_from)
        return streams

    async def _arrange_payment(self, streams: Sequence[HopStream], requests: Sequence[pb.Open], live_from: int) -> None:
        """Give the streams of hops that want to be paid their bills. All or none. Raises PaymentRequired."""
        prefill = max(self.options.prompt_tokens, self.sent.length)
        tokens = Tokens(prefill, max(self.options.max_tokens - prefill, 0))

        async def arrange(stream: HopStream, request: pb.Open) -> None:
            if self.options.wallet:
                stream.bill = await self.options.wallet.open(stream.hop, request, tokens)
            if stream.bill:
                stream.bill.note_sent(Tokens(prefill=live_from))

        try:
            async with asyncio.TaskGroup() as arranging:
                for stream, request in zip(streams, requests, strict=True):
                    arranging.create_task(arrange(stream, request))
        except BaseException as error:
            for stream in streams:
                stream.close()
            raise (error.exceptions[0] if isinstance(error, ExceptionGroup) else error) from None

    async def pay_up(self, streams: Iterable[HopStream]) -> None:
        """Pay these hops what their receipts say."""
        streams = list(streams)
        await asyncio.gather(*(stream.pay_up(self.next_seq()) for stream in streams if stream.bill))
        await asyncio.gather(*map(self._acknowledge, streams))

    async def _acknowledge(self, stream: HopStream) -> None:
        """Sign for work without a price, as far as the hop has: every position of the session once."""
        wallet, receipts = self.options.wallet, stream.receipts.receipts
        if not receipts or stream.hop.peer.asks.mode != "contribution" or not wallet:
            return
        terms = receipts[-1].receipt.terms
        tokens = min(sum(one.count for one in receipts), self.sent.length)
        data = wallet.acknowledge(terms, (terms.stop - terms.start) * tokens, receipts[-1].receipt.hash)
        await stream.acknowledge(data, self.next_seq())

    async def collect_receipts(self, streams: Iterable[HopStream]) -> None:
        """Let these hops sign what they have computed, and ask them for what they signed and nobody passed on."""
        streams = [stream for stream in streams if not stream.failure]
        for answer in await asyncio.gather(*(stream.seal(self.next_seq()) for stream in streams)):
            for receipt in answer.receipts if answer else ():
                self.receipts.add(receipt)

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
        if self.options.bid or self.options.batch:
            request.payment.bid, request.payment.batch = self.options.bid, self.options.batch
        if hop.offer:
            request.payment.offer = hop.offer.proof
            request.payment.prefill, request.payment.decode = hop.offer.price
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

    async def send(
        self, position: int, hidden: torch.Tensor, want: int, seal: bool = False, prompt: bool = False
    ) -> None:
        """Send a step to the first hop. hidden: [tokens, hidden_size]. seal: every hop signs what it has computed up to
        here. prompt: it is priced as prefill. Raises HopFailed."""
        rows = codec.to_rows(hidden, self.options.wire_dtype)
        self.sent.record(position, rows.data)
        self.receipts.sent(position, rows.digests, seal)
        for stream in (*self.streams, *([self.shadow] if self.shadow else [])):
            if stream.bill:
                stream.bill.note_sent(Tokens.of(len(rows), prompt))
        step = pb.Step(position=position, count=len(rows), want=want, hidden=rows.message(), seal=seal, prompt=prompt)
        await self.write(0, step)
        if self.shadow:
            try:
                await self.shadow.send(as_replay(step, self.next_seq()))
            except HopFailed:  # whoever is filling it will notice, and the chain is none the worse for it
                self.shadow = None

    async def write(self, index: int, step: pb.Step) -> None:
        """Send `step` to hop `index` under a new sequence number. Raises HopFailed."""
        step.seq = self.next_seq()
        await self.streams[index].send(step)

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
        self.shadow = shadow

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
            self.on_leaving(stream)
        elif kind == "result" and is_last:
            self.inbox.put_nowait(message.result)
        elif kind == "relay" and not is_last:
            await self._relay(index, message.relay)
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


def _receipt_terms(hop: Hop, request: pb.Open) -> Terms:
    """What the receipts of a hop opened by `request` have to say of it."""
    return Terms(
        session=request.session_id,
        attempt=request.seq,
        peer=address_of(hop.peer.peer_id),
        start=request.start,
        stop=request.stop,
        weights=request.weights or NOTHING,
        format=hop.peer.format,
        numerics_id=hop.peer.numerics_id,
        wire_dtype=request.wire_dtype,
        quote=request.quote or NOTHING,
    )
