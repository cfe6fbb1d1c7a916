"""A session on a chain: positions in, hidden states out."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import torch

from swarm.client.generation import HopTiming, Receipt
from swarm.errors import InvalidRequest, PeerUnreachable, SwarmError, from_wire
from swarm.route.route import Hop
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import Peer, unreachable

CHUNK_TOKENS = 256  # of a prompt in one message (MAX_STEP_TOKENS or less): hops work on several chunks at once
WINDOW_TOKENS = 4 * CHUNK_TOKENS  # unanswered tokens on their way


@dataclass(frozen=True)
class SessionOptions:
    model: str
    revision: str
    hidden_size: int
    wire_dtype: torch.dtype
    max_tokens: int  # KV positions reserved on every hop
    open_timeout_s: float
    step_timeout_s: float


class HopFailed(SwarmError):
    """A chain cannot go on because of one of its peers. `cause` is the error, `peer_ids` who is to blame."""

    def __init__(self, cause: SwarmError, peer_ids: Sequence[str]):
        super().__init__(str(cause))
        self.cause, self.peer_ids = cause, tuple(peer_ids)


class Session:
    """One open session: the client's own stream to each hop, of which the first takes the steps and the last answers.

    Not for concurrent use: one `forward` at a time. Close it when done; the hops free its pages at once.
    """

    def __init__(self, hops: Sequence[Hop], peers: Sequence[Peer], options: SessionOptions):
        self.hops, self._peers, self._options = list(hops), list(peers), options
        self.id = os.urandom(16)
        self.timings = [HopTiming() for _ in hops]
        self.sent_bytes = [0] * len(hops)  # of activations, on the client's stream to each hop
        self.received_bytes = [0] * len(hops)
        self._chains = [hashlib.sha256(self.id) for _ in hops]
        self._tokens = 0  # answered so far, for receipts
        self._streams: list[grpc.aio.StreamStreamCall] = []
        self._readers: list[asyncio.Task] = []
        self._inbox: asyncio.Queue[pb.Step | HopFailed] = asyncio.Queue()

    # --- opening and closing -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the session on all hops at once. Raises HopFailed naming the first hop that refused."""
        self._streams = [peer.session() for peer in self._peers]
        opening = [self._open_hop(index) for index in range(len(self.hops))]
        outcomes = await asyncio.gather(*opening, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            self.close()
            raise next((f for f in failures if not isinstance(f, HopFailed)), failures[0])
        self._readers = [asyncio.create_task(self._read(index)) for index in range(len(self.hops))]

    async def _open_hop(self, index: int) -> None:
        hop, options, stream = self.hops[index], self._options, self._streams[index]
        request = pb.Open(
            session_id=self.id,
            model=options.model,
            revision=options.revision,
            start=hop.start,
            stop=hop.stop,
            wire_dtype=codec.wire_dtype(options.wire_dtype),
            max_tokens=options.max_tokens,
        )
        if index + 1 < len(self.hops):
            request.next.CopyFrom(self.hops[index + 1].peer.endpoint)
        try:
            async with asyncio.timeout(options.open_timeout_s):
                await stream.write(pb.ToServer(open=request))
                answer = await stream.read()
        except TimeoutError as error:
            raise self._failed(index, f"did not answer within {options.open_timeout_s:g} s") from error
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(index, error) from error
        if answer is grpc.aio.EOF:
            raise self._failed(index, "closed the stream")
        if answer.HasField("failure"):
            raise HopFailed(from_wire(answer.failure.code, answer.failure.message), [hop.peer.peer_id])
        if not answer.HasField("opened"):
            raise self._failed(index, "answered with something unexpected")

    def close(self) -> None:
        """End the session. Does not wait."""
        for reader in self._readers:
            reader.cancel()
        for stream in self._streams:
            stream.cancel()

    # --- computing ---------------------------------------------------------------------------------------------------

    async def forward(self, position: int, hidden: torch.Tensor, want: int = pb.LAST) -> torch.Tensor:
        """Send activations of consecutive positions through the chain.

        hidden: [tokens, hidden_size], the embeddings of positions `position`, `position` + 1, ...
        want: pb.LAST for the last position's output, [1, hidden_size]; pb.ALL for all, [tokens, hidden_size].
        Raises HopFailed if a peer fails, refuses or does not answer in time.
        """
        total, sent, answered = len(hidden), 0, 0
        outputs: list[torch.Tensor] = []
        while answered < total:
            while sent < total and sent - answered < WINDOW_TOKENS:
                rows = hidden[sent : sent + CHUNK_TOKENS]
                final = sent + len(rows) == total
                await self._send(position + sent, rows, want if final or want == pb.ALL else pb.NOTHING)
                sent += len(rows)
            step = await self._next_answer()
            outputs += self._check_answer(step, position + answered, want, answered + step.count == total)
            answered += step.count
        return torch.cat(outputs)

    async def _send(self, position: int, rows: torch.Tensor, want: int) -> None:
        tensor = codec.encode(rows, self._options.wire_dtype)
        await self._write(0, pb.Step(position=position, count=len(rows), want=want, hidden=tensor))

    async def _write(self, index: int, step: pb.Step) -> None:
        self.sent_bytes[index] += len(step.hidden.data)
        try:
            await self._streams[index].write(pb.ToServer(step=step))
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._broken(index, error) from error

    async def _next_answer(self) -> pb.Step:
        try:
            async with asyncio.timeout(self._options.step_timeout_s):
                message = await self._inbox.get()
        except TimeoutError as error:
            raise await self._who_hangs() from error
        if isinstance(message, HopFailed):
            raise message
        return message

    def _check_answer(self, step: pb.Step, position: int, want: int, final: bool) -> list[torch.Tensor]:
        """Check what the last hop returned, which is untrusted, and decode it."""
        last = len(self.hops) - 1
        if step.position != position or not 1 <= step.count <= WINDOW_TOKENS or len(step.visits) != len(self.hops):
            raise self._failed(last, f"answered for positions {step.position}:{step.position + step.count}")
        self._account(step)
        rows = step.count if want == pb.ALL else 1 if final else 0
        if not rows:
            return []
        try:
            hidden = codec.decode(step.hidden, (rows, self._options.hidden_size), self._options.wire_dtype)
        except InvalidRequest as error:
            raise self._failed(last, f"answered with a tensor of {error}") from error
        return [hidden]

    def _account(self, step: pb.Step) -> None:
        self._tokens += step.count
        for timing, chain, visit in zip(self.timings, self._chains, step.visits, strict=True):
            timing.steps += 1
            timing.queue_s += visit.queue_us / 1e6
            timing.compute_s += visit.compute_us / 1e6
            chain.update(visit.digest)

    def receipts(self) -> list[Receipt]:
        """One for each hop, over everything this session answered."""
        return [
            Receipt(hop.peer.peer_id, (hop.start, hop.stop), 0, self._tokens, chain.digest())
            for hop, chain in zip(self.hops, self._chains, strict=True)
        ]

    # --- what the hops say -------------------------------------------------------------------------------------------

    async def _read(self, index: int) -> None:
        """Sort what hop `index` says: results and failures to whoever waits in forward, relays to the next hop."""
        last = len(self.hops) - 1
        try:
            while (message := await self._streams[index].read()) is not grpc.aio.EOF:
                kind = message.WhichOneof("kind")
                if kind == "result" and index == last:
                    self.received_bytes[index] += len(message.result.hidden.data)
                    self._inbox.put_nowait(message.result)
                elif kind == "relay" and index < last:
                    self.received_bytes[index] += len(message.relay.hidden.data)
                    await self._write(index + 1, message.relay)
                elif kind == "failure":
                    error = from_wire(message.failure.code, message.failure.message)
                    self._inbox.put_nowait(HopFailed(error, [self.hops[index].peer.peer_id]))
                else:
                    self._inbox.put_nowait(self._failed(index, "answered with something unexpected"))
        except grpc.RpcError as error:
            self._inbox.put_nowait(self._broken(index, error))
        except HopFailed as error:
            self._inbox.put_nowait(error)
        else:
            self._inbox.put_nowait(self._failed(index, "closed the stream"))

    async def _who_hangs(self) -> HopFailed:
        """No answer in time: ask every hop whether it lives; blame those that say nothing."""
        async def silent(peer: Peer) -> bool:
            try:
                await peer.status(timeout_s=1.0)
            except PeerUnreachable:
                return True
            return False

        answers = await asyncio.gather(*(silent(peer) for peer in self._peers))
        blamed = [peer for peer, is_silent in zip(self._peers, answers, strict=True) if is_silent] or self._peers
        names = ", ".join(f"{peer.peer_id[-8:]} at {peer.address}" for peer in blamed)
        text = f"no answer within {self._options.step_timeout_s:g} s; silent: {names}"
        return HopFailed(PeerUnreachable(text), [peer.peer_id for peer in blamed])

    def _failed(self, index: int, what: str) -> HopFailed:
        peer = self._peers[index]
        return HopFailed(PeerUnreachable(f"peer {peer.peer_id[-8:]} at {peer.address} {what}"), [peer.peer_id])

    def _broken(self, index: int, error: Exception) -> HopFailed:
        if isinstance(error, grpc.RpcError):
            return HopFailed(unreachable(self._peers[index], error), [self._peers[index].peer_id])
        return self._failed(index, "closed the stream")
