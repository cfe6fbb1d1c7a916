"""Continuous batching: steps of many sessions are computed together, as batching.py decides.

Everything here runs in the event loop, short batches too; longer ones are computed in one thread of its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import torch

from swarm.errors import SwarmError
from swarm.route.means import RunningMean
from swarm.server.scheduler.batching import BatchLimits, choose_batch, decoding, hold_s, yield_s
from swarm.server.scheduler.pipelining import DecodeTimes, micro_batches, rows_to_take, rows_to_top_up
from swarm.server.scheduler.runner import Runner
from swarm.server.session.reservation import SessionKey
from swarm.server.session.session import Session
from swarm.server.session.steps import Slice
from swarm.wire import messages_pb2 as pb

INLINE_S = 0.1  # how long the event loop may be busy with one batch
ROUNDS = 4  # of the event loop, after a batch: to send its answers and to accept what arrived meanwhile
_RATE = 0.2  # of the difference, that one batch moves a mean

OnBatch = Callable[[Sequence[Slice], float, float, float], None]

logger = logging.getLogger(__name__)


def _ignore(batch: Sequence[Slice], started: float, compute_s: float, processor_s: float) -> None:
    pass


class Scheduler:
    """Computes what waits in its sessions, which send every output on its way, until stopped.

    Pages of a session that closes while a batch runs are released only after that batch.
    """

    def __init__(
        self,
        runner: Runner,
        release: Callable[[Session], None],
        limits: BatchLimits,
        on_batch: OnBatch = _ignore,
    ):
        """release: called when nothing is computed any more in the pages of a session that was removed. on_batch:
        called with every batch once its outputs are on their way, when it began (time.perf_counter()), the seconds its
        blocks took, and those for which the computing thread had a processor."""
        self._runner, self._release, self._limits, self._on_batch = runner, release, limits, on_batch
        self._sessions: dict[SessionKey, Session] = {}
        self._running: set[Session] = set()
        self._wake = asyncio.Event()
        self._token_s = RunningMean(_RATE, start=INLINE_S)  # the first batches go to the thread
        self._decode_s = RunningMean(_RATE, start=0.0)  # of a decode batch
        self._decode_times = DecodeTimes()
        self._stay_s = RunningMean(_RATE, start=0.0)  # of a decode step, from its arrival to its output's departure
        self._micro_batches = 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self.tokens_served = 0
        self.busy_s = 0.0  # spent computing

    @property
    def queued_tokens(self) -> int:
        """Of on-demand sessions."""
        return sum(session.steps.waiting_tokens for session in self._on_demand())

    @property
    def decoding(self) -> int:
        """On-demand sessions in the middle of generating: background sessions keep nobody waiting."""
        return len(decoding(self._on_demand(), time.monotonic()))

    def _on_demand(self) -> list[Session]:
        return [session for session in self._sessions.values() if not session.reservation.background]

    def add(self, session: Session) -> None:
        self._sessions[session.reservation.key] = session

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    def remove(self, session: Session) -> None:
        """Forget `session`; its pages are released at once, or after the batch that is using them."""
        self._sessions.pop(session.reservation.key, None)
        session.steps.clear()
        if session not in self._running:
            self._release(session)

    async def run(self) -> None:
        """Compute until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch: list[Slice] = []
            while following := await self._next_batch():
                batch = following
                await self._compute(batch)
                for _ in range(ROUNDS):
                    await asyncio.sleep(0)
            if batch:
                self._runner.prepare_next(batch)

    async def _next_batch(self) -> list[Slice]:
        """What to compute now, perhaps after a short wait for more; empty if nothing waits."""
        while True:
            sessions, now = list(self._sessions.values()), time.monotonic()
            on_demand: list[Session] = []
            waiting = 0
            for session in sessions:
                waiting += session.steps.next_rows
                if not session.reservation.background:
                    on_demand.append(session)
            if not waiting:
                return []
            urgent = sessions
            if len(on_demand) < len(sessions) and any(session.is_ready() for session in on_demand):
                urgent = on_demand
            expected = decoding(urgent, now)
            batch = choose_batch(sessions, self._limits_now(sessions, expected), now)
            share = -(-len(expected) // self._micro_batches)
            pause_s = hold_s(urgent, batch, self._decode_s.value, now, share) if batch else 0.0
            if len(on_demand) < len(sessions):
                pause_s = max(pause_s, yield_s(on_demand, batch, self._expected_s(batch), now))
            if not pause_s:
                return batch
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)

    def _limits_now(self, sessions: Sequence[Session], expected: Sequence[Session]) -> BatchLimits:
        """The limits of the next batch, where the sessions `expected` are in the middle of generating."""
        waiting = spare = top_up = 0
        for session in expected:
            waiting += session.steps.next_rows > 0
        rows = rows_to_take(waiting, len(expected), self._micro_batches) if waiting > 1 else waiting
        rows = min(rows, self._limits.decode_rows)
        for session in sessions:
            spare += session.reservation.background and session.steps.next_rows > 0
        if spare:
            top_up = rows_to_top_up(rows, min(spare, self._limits.decode_rows - rows), self._decode_times.seconds)
        return replace(self._limits, decode_rows=rows, top_up=top_up)

    def _expected_s(self, batch: Sequence[Slice]) -> float:
        """What `batch` will take."""
        tokens = sum(item.count for item in batch)
        return self._decode_times.seconds(tokens) if tokens == len(batch) else tokens * self._token_s.value

    async def _compute(self, batch: Sequence[Slice]) -> None:
        started = time.perf_counter()
        tokens, arrived = 0, started
        for item in batch:
            self._running.add(item.session)
            tokens += item.count
            arrived = min(arrived, item.work.arrived)
        try:
            outputs, compute_s, processor_s = await self._run(batch, tokens)
        except RuntimeError as error:  # out of memory, or a kernel that refuses its input: these sessions end, not us
            logger.exception("a batch of %d slices failed", len(batch))
            self._fail(batch, error)
            return
        finally:
            self._running.clear()
            for item in batch:
                if self._sessions.get(item.session.reservation.key) is not item.session:
                    self._release(item.session)
        self.busy_s += compute_s
        self.tokens_served += tokens
        for item, output in zip(batch, outputs, strict=True):
            queue_us, compute_us = int((started - item.work.arrived) * 1e6), int(compute_s * 1e6)
            self._send_on(item, output, pb.Visit(queue_us=queue_us, compute_us=compute_us, batch_tokens=tokens))
        self._on_batch(batch, started, compute_s, processor_s)
        if tokens == len(batch):
            self._learn(tokens, compute_s, time.perf_counter() - arrived)

    async def _run(self, batch: Sequence[Slice], tokens: int) -> tuple[list[torch.Tensor], float, float]:
        """The outputs of `batch`, and the seconds its blocks took, by the clock and of this thread's processor. tokens:
        in it.

        What is expected to take longer than INLINE_S goes to the compute thread, so that the network is served
        meanwhile. Anything else is computed right here, and the event loop waits for it: handing it over and back costs
        0.3 ms, which one session's token would feel. gRPC's own threads go on with what they have got already.
        """
        if tokens * self._token_s.value <= INLINE_S:
            found = self._run_here(batch)
        else:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._run_here, batch)
        self._token_s.observe(found[1] / tokens)
        return found

    def _run_here(self, batch: Sequence[Slice]) -> tuple[list[torch.Tensor], float, float]:
        before_s = time.thread_time()
        outputs, compute_s = self._runner.run(batch)
        return outputs, compute_s, time.thread_time() - before_s

    def _send_on(self, item: Slice, output: torch.Tensor, visit: pb.Visit) -> None:
        """Let the session, if it is still here, have its output, and put it last in line."""
        session, key = item.session, item.session.reservation.key
        if self._sessions.get(key) is session:
            self._sessions[key] = self._sessions.pop(key)
            session.steps.advance(item.count)
            session.computed(item, output, visit)

    def _learn(self, rows: int, compute_s: float, stay_s: float) -> None:
        """From a decode batch: what such batches take, and into how many to divide the sessions from now on. stay_s:
        since the first of its rows arrived."""
        self._decode_s.observe(compute_s)
        self._decode_times.observe(rows, compute_s)
        self._stay_s.observe(stay_s)
        sessions, away_s = decoding(list(self._sessions.values()), time.monotonic()), 0.0
        for session in sessions:
            away_s += session.pace.away.value
        if sessions:
            round_s = away_s / len(sessions) + self._stay_s.value
            self._micro_batches = micro_batches(len(sessions), self._decode_times.seconds, round_s, self._micro_batches)

    def _fail(self, batch: Sequence[Slice], error: RuntimeError) -> None:
        for item in batch:
            item.session.steps.clear()
            item.session.outbox.fail(SwarmError(f"the computation failed on this peer: {error}"))

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
