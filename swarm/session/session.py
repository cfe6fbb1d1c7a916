"""A session on a chain: positions in, hidden states out, whatever becomes of the chain's hops."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from swarm.errors import InvalidRequest, PeerBusy, PeerUnreachable
from swarm.results import HopTiming, Payment
from swarm.route.route import Hop
from swarm.session.chain import Chain, SessionOptions
from swarm.session.hop import HopFailed, HopStream, is_recoverable
from swarm.session.patience import MOST_PATIENCE_S, StepClock, at_work, silent, stuck_before
from swarm.session.recovery import Recovery, Spares
from swarm.verify.receipts.checking import ChainReceipts, FaultKind
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import Tokens
from swarm.wire.transport import Peer

CHUNK_TOKENS = 256  # of a prompt in one message (MAX_STEP_TOKENS or less): hops work on several chunks at once
WINDOW_TOKENS = 4 * CHUNK_TOKENS  # unanswered tokens on their way
STEPS_PER_OBSERVATION = 16  # of a chain's speed
SEAL_TOKENS = 32  # after which every hop signs a receipt
SEAL_S = 1.0  # or after this time


@dataclass
class _Call:
    """One `forward`, and how far it has come. Counts are of rows of `hidden`."""

    position: int
    hidden: torch.Tensor  # [tokens, hidden_size]
    want: int
    seal: bool
    sent: int = 0
    answered: int = 0
    first_seq: int = 0  # answers to anything older are not for this call, or were sent before a repair
    outputs: list[torch.Tensor] = field(default_factory=list)

    @property
    def prompt(self) -> bool:
        """Whether it is priced as prefill."""
        return len(self.hidden) > 1

    @property
    def reached(self) -> int:
        """The session's first position that is not answered."""
        return self.position + self.answered

    @property
    def end(self) -> int:
        return self.position + len(self.hidden)


class Session:
    """One generation's way through a chain of peers.

    Peers that fail are replaced while it goes on, if `spares` knows others: the predecessor sends its journal to the
    new one, then the steps without an answer are sent again. Not for concurrent use: one `forward` at a time. Close it
    when done; the hops free its pages at once.
    """

    def __init__(
        self, hops: Sequence[Hop], peers: Sequence[Peer], options: SessionOptions, spares: Spares | None = None
    ):
        self._first_hops, self._peers, self._options = list(hops), list(peers), options
        self._chain = Chain(options)
        self.is_open = True
        self.on_steps: Callable[[Session, float], None] = lambda session, step_s: None  # told the mean of some steps
        self._step_times_s: list[float] = []
        self._clock = StepClock()
        self.recovery = Recovery(self._chain, spares) if spares else None
        self._attempts = 0  # repairs since the last answer
        self._sealed, self._unsealed = time.monotonic(), 0  # when the last seal was asked for, and tokens since
        self._arrived: list[bytes] = []  # receipts that wait to be checked

    @property
    def receipts(self) -> ChainReceipts:
        """What the hops have signed, including those that were replaced."""
        return self._chain.receipts

    @property
    def is_sealed(self) -> bool:
        """Whether the hops were asked to sign for everything up to the last step."""
        return self._unsealed == 0

    @property
    def chain(self) -> Chain:
        return self._chain

    @property
    def hops(self) -> list[Hop]:
        """The chain as it is now."""
        return [stream.hop for stream in self._chain.streams] or self._first_hops

    @property
    def timings(self) -> list[HopTiming]:
        return [stream.timing for stream in self._chain.streams]

    @property
    def sent_bytes(self) -> list[int]:
        """Of activations, on the client's stream to each hop."""
        return [stream.sent_bytes for stream in self._chain.streams]

    @property
    def received_bytes(self) -> list[int]:
        return [stream.received_bytes for stream in self._chain.streams]

    async def open(self) -> None:
        """Open the session on all hops at once. Raises HopFailed naming the first hop that refused."""
        await self._chain.open(self._first_hops, self._peers)

    def payments(self) -> list[Payment]:
        """What was paid so far, to every hop that wants to be paid."""
        return [
            Payment(stream.hop.peer.peer_id, (stream.hop.start, stream.hop.stop), *stream.bill.tokens,
                    *stream.bill.price, stream.bill.amount)
            for stream in (*self._chain.streams, *self._chain.retired)
            if stream.bill and stream.bill.amount
        ]  # fmt: skip

    def close(self) -> None:
        """End the session. Does not wait."""
        self.is_open = False
        if self.recovery:
            self.recovery.close()
        self._chain.close()

    async def settle(self) -> None:
        """Get receipts for all that was answered. For when nothing more is to be computed."""
        self._check_receipts()
        alive = [stream for stream in self._chain.streams if not stream.failure]
        await self._chain.collect_receipts(alive)
        await self._chain.pay_up(alive)
        for stream in alive:  # also if it broke off when it was asked
            if stream.receipts.signed_length < stream.answered:
                self.receipts.blame(stream.hop.peer.peer_id, FaultKind.MISSING, f"up to position {stream.answered}")
        self.receipts.check_chunks([stream.receipts for stream in self._chain.streams])

    # --- computing ---------------------------------------------------------------------------------------------------

    async def forward(
        self, position: int, hidden: torch.Tensor, want: int = pb.LAST, seal: bool = False
    ) -> torch.Tensor:
        """Send hidden states through the chain.

        hidden: [tokens, hidden_size], the embeddings of positions `position`, `position` + 1, ...
        want: pb.LAST for the last position's output, [1, hidden_size]; pb.ALL for all, [tokens, hidden_size].
        seal: the hops sign a receipt that ends here, though none would be due.
        Raises HopFailed if a peer fails, refuses or does not answer in time, and cannot be replaced.
        """
        if self.recovery:
            await self.recovery.hand_over()
        call, started = _Call(position, hidden, want, seal), time.perf_counter()
        self._start(call)
        while call.answered < len(hidden):
            try:
                await self._advance(call)
            except HopFailed as failure:
                await self._recover(failure, call.reached)
                self._start(call)
        if len(hidden) == 1 and not self._attempts:
            self._note_step(time.perf_counter() - started)
        self._attempts = 0
        return torch.cat(call.outputs)

    def _note_step(self, step_s: float) -> None:
        """One token went around undisturbed."""
        self._clock.observe(step_s)
        self._step_times_s.append(step_s)
        if len(self._step_times_s) == STEPS_PER_OBSERVATION:
            if not self._options.batch:  # whose steps wait for those of others: no measure of the peers
                self.on_steps(self, sum(self._step_times_s) / STEPS_PER_OBSERVATION)
            self._step_times_s.clear()

    def _start(self, call: _Call) -> None:
        """From the first position without an answer, for the first time or again."""
        call.sent, call.first_seq = call.answered, self._chain.next_seq()

    async def _advance(self, call: _Call) -> None:
        """Send as much as may be under way, and take one answer."""
        while call.sent < len(call.hidden) and call.sent - call.answered < WINDOW_TOKENS:
            rows = call.hidden[call.sent : call.sent + CHUNK_TOKENS]
            final = call.sent + len(rows) == len(call.hidden)
            want = call.want if final or call.want == pb.ALL else pb.NOTHING
            seal = self._is_seal_due(len(rows)) or (final and call.seal)
            await self._chain.send(call.position + call.sent, rows, want, seal, call.prompt)
            call.sent += len(rows)
        self._check_receipts()  # now, while the hops compute
        await self._pay()
        step = await self._next_answer(call)
        self._arrived += step.receipts
        if step.seq >= call.first_seq:
            call.outputs += self._check_answer(step, call)
            call.answered += step.count

    def _is_seal_due(self, tokens: int) -> bool:
        """Whether the hops are to sign a receipt after so many further tokens: a message of a prompt has its own."""
        now, self._unsealed = time.monotonic(), self._unsealed + tokens
        due = tokens > 1 or self._unsealed >= SEAL_TOKENS or now - self._sealed > SEAL_S
        if due:
            self._sealed, self._unsealed = now, 0
        return due

    async def _pay(self, all: bool = False) -> None:
        """Send vouchers where they are due, or for all that is owed."""
        for stream in self._chain.streams:
            if stream.bill and (stream.bill.is_due or (all and stream.bill.unpaid)):
                await stream.pay()

    def _check_receipts(self) -> None:
        arrived, self._arrived = self._arrived, []
        for receipt in arrived:
            self.receipts.add(receipt)

    def _check_answer(self, step: pb.Step, call: _Call) -> list[torch.Tensor]:
        """Check what the last hop returned, which is untrusted, and decode it."""
        streams = self._chain.streams
        last = streams[-1]
        fits = step.position == call.reached and 1 <= step.count <= call.sent - call.answered
        if not fits or len(step.visits) != len(streams):
            raise last.failed(f"answered for positions {step.position}:{step.position + step.count}")
        for stream, visit in zip(streams, step.visits, strict=True):
            stream.account(visit, step.position + step.count)
            if stream.bill:
                replayed = 0 if stream.filled else stream.receipts.live_from
                stream.bill.note_got(Tokens(prefill=replayed) + Tokens.of(step.count, call.prompt))
            stream.filled = True
        final = step.position + step.count == call.end
        rows = step.count if call.want == pb.ALL else 1 if final else 0
        if not rows:
            return []
        try:
            answered = codec.read_rows(step.hidden, (rows, self._options.hidden_size), self._options.wire_dtype)
        except InvalidRequest as error:
            raise last.failed(f"answered with a tensor of {error}") from error
        for position, digest in enumerate(answered.digests, step.position + step.count - rows):
            self.receipts.received(position, digest, last.receipts)
        return [answered.tensor()]

    # --- waiting, and what to do when it takes long ------------------------------------------------------------------

    async def _next_answer(self, call: _Call) -> pb.Step:
        """Raises HopFailed as soon as a hop is known to be gone."""
        patience_s, waited_s = self._clock.patience_s(call.sent - call.answered), 0.0
        suspect: int | None = None
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    message = await self._chain.inbox.get()
            except TimeoutError:
                waited_s += patience_s
                suspect = await self._ask_around(suspect, waited_s)
                patience_s = min(2 * patience_s, MOST_PATIENCE_S)
                continue
            if isinstance(message, HopFailed):
                raise message
            return message

    async def _ask_around(self, suspect: int | None, waited_s: float) -> int | None:
        """No answer in time: ask every hop how far it has come.

        Returns the hop that seems to wait for something that its predecessor has sent. Raises HopFailed for hops that
        say nothing, for a loss between two hops that was already suspected, and for one that computes for too long.
        """
        await self._pay(all=True)  # a hop may wait for it
        streams = list(self._chain.streams)
        answers = await asyncio.gather(*(stream.probe(self._chain.next_seq()) for stream in streams))
        if not self._chain.inbox.empty():
            return None
        if quiet := silent(answers):
            raise _blame([streams[index] for index in quiet], f"is silent, after {waited_s:.1f} s without an answer")
        stop = self._chain.sent.length
        if (lost := stuck_before(answers, stop)) is not None and lost == suspect:
            raise await self._relay_from(lost - 1)
        if waited_s > self._options.step_timeout_s:
            index = at_work(answers, stop)
            blamed = streams if index is None else [streams[index]]
            raise _blame(blamed, f"gave no answer within {waited_s:.0f} s")
        return lost

    async def _relay_from(self, index: int) -> HopFailed:
        """What hop `index` sends does not arrive: let it come through here. Returns the error to raise, by which what
        has no answer is sent again."""
        request = pb.Reroute(seq=self._chain.next_seq())
        await self._chain.streams[index].reroute(request, self._chain.next_seq())
        return HopFailed(PeerUnreachable("a hop does not reach the next: its outputs come through the client now"), [])

    async def _recover(self, failure: HopFailed, answered: int) -> None:
        """Replace what is broken. answered: positions. Raises HopFailed if that cannot be done, or would not help, or
        if a batch session has to give way: the other hops are not to keep its room until there is some again."""
        if self._options.batch and isinstance(failure.cause, PeerBusy):
            raise failure
        self._attempts += 1
        if not is_recoverable(failure.cause) or self.recovery is None or self._attempts > self._options.max_repairs:
            raise failure
        await self.recovery.repair(answered)


def _blame(streams: Sequence[HopStream], what: str) -> HopFailed:
    """All of `streams` have to be replaced; returns the error to raise."""
    return [stream.failed(what) for stream in streams][0]  # noqa: RUF015 - all of them
