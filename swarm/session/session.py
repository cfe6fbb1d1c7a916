"""A session on a chain: positions in, hidden states out, whatever becomes of the chain's hops."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from swarm.errors import InvalidRequest, PeerBusy, PeerUnreachable
from swarm.results import HopTiming, Repair
from swarm.route.route import Hop
from swarm.session.chain import Chain, SessionOptions
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.session.hop import HopFailed, HopStream, is_recoverable
from swarm.session.observers import HopObserver
from swarm.session.patience import MOST_PATIENCE_S, StepClock, at_work, silent, stuck_before
from swarm.session.recovery import Recovery, Spares
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import Peer

CHUNK_TOKENS = 256  # of a prompt in one message (MAX_STEP_TOKENS or less): hops work on several chunks at once
WINDOW_TOKENS = 4 * CHUNK_TOKENS  # unanswered tokens on their way
STEPS_PER_OBSERVATION = 16  # of a chain's speed


@dataclass
class _Call:
    """One `forward`, and how far it has come, in positions."""

    position: int  # the first
    hidden: torch.Tensor  # [tokens, hidden_size]
    want: pb.Want
    stop: int = field(init=False)  # one past the last
    prompt: bool = field(init=False)  # it is priced as prefill
    sent: int = field(init=False)  # those below are on their way
    answered: int = field(init=False)
    first_seq: int = 0  # of what was sent first, or after a repair: answers to anything older count no more
    outputs: list[torch.Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        tokens = len(self.hidden)
        self.stop, self.prompt = self.position + tokens, tokens > 1 or self.position == 0
        self.sent = self.answered = self.position


class Session:
    """One generation's way through a chain of peers.

    Peers that fail are replaced while it goes on, if `spares` knows others: the predecessor sends its journal to the
    new one, then the steps without an answer are sent again. Not for concurrent use: one `forward` at a time. Close it
    when done; the hops free its pages at once.
    """

    def __init__(
        self,
        hops: Sequence[Hop],
        peers: Sequence[Peer],
        options: SessionOptions,
        spares: Spares | None = None,
        observer: HopObserver | None = None,
        coverage: WaitForCoverage | None = None,
    ):
        """observer: told of what passes between the client and its hops. coverage: the generation's, with which a
        repair waits for peers; by default it waits for nobody."""
        self._first_hops, self._peers, self._options = list(hops), list(peers), options
        self._observer = observer or HopObserver()
        self._chain = Chain(options, self._observer, self._prepare)
        self._spares = spares
        self._coverage = coverage or WaitForCoverage(0.0, lambda status: None, Waits())
        self._recovery = Recovery(self._chain, spares, self._coverage) if spares else None
        self.is_open = True
        self._step_times_s: list[float] = []
        self._clock = StepClock()
        self._attempts = 0  # repairs in the `forward` that is under way

    @property
    def chain(self) -> Chain:
        return self._chain

    @property
    def hops(self) -> list[Hop]:
        """The chain as it is now."""
        return [stream.hop for stream in self._chain.streams] or self._first_hops

    @property
    def repairs(self) -> list[Repair]:
        """Replacements of its hops, so far."""
        return self._recovery.repairs if self._recovery else []

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

    def close(self) -> None:
        """End the session. Does not wait."""
        self.is_open = False
        if self._recovery:
            self._recovery.close()
        self._chain.close()

    async def finish(self) -> None:
        """Get from the hops, and give them, what is due for all that was answered. For when nothing more is to be
        computed, or not before what was got is looked at."""
        hops = self._chain.streams
        await self._observer.closing(hops, [stream for stream in hops if not stream.failure])

    def _prepare(self, leaver: HopStream) -> None:
        if self._recovery:
            self._recovery.prepare(leaver)

    # --- computing ---------------------------------------------------------------------------------------------------

    async def forward(self, position: int, hidden: torch.Tensor, want: pb.Want = pb.LAST) -> torch.Tensor:
        """Send hidden states through the chain.

        hidden: [tokens, hidden_size], the embeddings of positions `position`, `position` + 1, ...
        want: pb.LAST for the last position's output, [1, hidden_size]; pb.ALL for all, [tokens, hidden_size].
        Raises HopFailed if a peer fails, refuses or does not answer in time, and cannot be replaced.
        """
        if self._recovery:
            await self._recovery.hand_over()
        tokens, started = len(hidden), time.perf_counter()
        call = _Call(position, hidden, want)
        while call.answered < call.stop:
            try:
                await self._send(call)
                await self._observer.computing(self._chain.streams)
                self._take(await self._next_answer(call.sent - call.answered), call)
            except HopFailed as failure:
                await self._recover(failure, call.answered)
                call.sent, call.first_seq = call.answered, 0
        if tokens == 1 and not self._attempts:
            self._note_step(time.perf_counter() - started)
        self._attempts = 0
        return torch.cat(call.outputs) if len(call.outputs) > 1 else call.outputs[0]

    def _note_step(self, step_s: float) -> None:
        """One token went around undisturbed."""
        self._clock.observe(step_s)
        self._step_times_s.append(step_s)
        if len(self._step_times_s) == STEPS_PER_OBSERVATION:
            if self._spares and not self._options.background:  # whose steps wait for those of others: no measure
                self._spares.observe_steps(self.hops, sum(self._step_times_s) / STEPS_PER_OBSERVATION)
            self._step_times_s.clear()

    async def _send(self, call: _Call) -> None:
        """As much as may be under way."""
        while call.sent < call.stop and call.sent - call.answered < WINDOW_TOKENS:
            first, stop = call.sent, min(call.sent + CHUNK_TOKENS, call.stop)
            rows = call.hidden[first - call.position : stop - call.position]
            want = call.want if stop == call.stop or call.want == pb.ALL else pb.NOTHING
            seq = await self._chain.send(first, rows, want, call.prompt)
            call.sent, call.first_seq = stop, call.first_seq or seq

    def _take(self, step: pb.Step, call: _Call) -> None:
        """Check what the last hop returned, which is untrusted, and decode it."""
        if step.seq < call.first_seq:
            self._observer.answered((), step, call.prompt, ())
            return
        hops, stop = self._chain.streams, step.position + step.count
        last = hops[-1]
        if step.position != call.answered or not step.position < stop <= call.sent or len(step.visits) != len(hops):
            raise last.failed(f"answered for positions {step.position}:{stop}")
        for hop, visit in zip(hops, step.visits, strict=True):
            hop.account(visit, stop)
        digests: Sequence[bytes] = ()
        try:
            if wanted := step.count if call.want == pb.ALL else int(stop == call.stop):
                shape = wanted, self._options.hidden_size
                rows = codec.read_rows(step.hidden, shape, self._options.wire_dtype)
                digests = rows.digests
                call.outputs.append(rows.tensor())
        except InvalidRequest as error:
            raise last.failed(f"answered with a tensor of {error}") from error
        finally:
            self._observer.answered(hops, step, call.prompt, digests)
        call.answered = stop
        self._coverage.got_to(stop)

    # --- waiting, and what to do when it takes long ------------------------------------------------------------------

    async def _next_answer(self, tokens: int) -> pb.Step:
        """To `tokens` that are under way. Raises HopFailed as soon as a hop is known to be gone."""
        patience_s, waited_s = self._clock.patience_s(tokens), 0.0
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
            self._coverage.over()
            if isinstance(message, HopFailed):
                raise message
            return message

    async def _ask_around(self, suspect: int | None, waited_s: float) -> int | None:
        """No answer in time: ask every hop how far it has come.

        Returns the hop that seems to wait for something that its predecessor has sent. Raises HopFailed for hops that
        say nothing, for a loss between two hops that was already suspected, and for one that computes for too long.
        """
        await self._observer.waiting(self._chain.streams)
        streams = list(self._chain.streams)
        answers = await asyncio.gather(*(stream.probe() for stream in streams))
        if not self._chain.inbox.empty():
            return None
        if quiet := [streams[index] for index in silent(answers)]:
            given_up = self._recovery.given_up(quiet) if self._recovery else quiet
            if not given_up:
                return None
            raise _blame(given_up, f"is silent, after {waited_s:.1f} s without an answer")
        self._coverage.over()
        stop, progress = self._chain.sent.length, [answer for answer in answers if answer is not None]
        if (lost := stuck_before(progress, stop)) is not None and lost == suspect:
            raise await self._relay_from(lost - 1)
        if waited_s > self._options.step_timeout_s:
            index = at_work(progress, stop)
            blamed = streams if index is None else [streams[index]]
            raise _blame(blamed, f"gave no answer within {waited_s:.0f} s")
        return lost

    async def _relay_from(self, index: int) -> HopFailed:
        """What hop `index` sends does not arrive: let it come through here. Returns the error to raise, by which what
        has no answer is sent again."""
        await self._chain.streams[index].reroute(pb.Reroute())
        return HopFailed(PeerUnreachable("a hop does not reach the next: its outputs come through the client now"), [])

    async def _recover(self, failure: HopFailed, answered: int) -> None:
        """Replace what is broken. answered: positions. Raises HopFailed if that cannot be done, or would not help, or
        if a background session has to give way: the other hops are not to keep its room until there is some again."""
        if self._options.background and isinstance(failure.cause, PeerBusy):
            raise failure
        self._attempts += 1
        if not is_recoverable(failure.cause) or self._recovery is None or self._attempts > self._options.max_repairs:
            raise failure
        await self._recovery.repair(answered)


def _blame(streams: Sequence[HopStream], what: str) -> HopFailed:
    """All of `streams` have to be replaced; returns the error to raise."""
    return [stream.failed(what) for stream in streams][0]  # noqa: RUF015 - all of them
