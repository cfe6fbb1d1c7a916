"""Continuous batching: which steps of which sessions are computed together, and when.

Everything here runs in the event loop except the computation itself, which has one thread of its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from swarm.errors import SwarmError
from swarm.server.pipelining import DecodeTimes, micro_batches, rows_to_take
from swarm.server.runner import Runner, Slice
from swarm.server.sessions import Session, SessionKey

HOLD = 0.75  # of a decode batch's time: how long one may be held back for more tokens
MARGIN = 0.2  # of the time that sessions.Session.due() allows a token, beyond the usual
INLINE_S = 0.1  # how long the event loop may be busy with one batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchLimits:
    """How many tokens one batch may hold.

    A batch takes as long as its tokens need, and every decoding session waits for it: beside decoding sessions a
    prompt therefore advances in small chunks, alone in large ones, which use the processor better.
    """

    decode_rows: int = 64
    prefill_alone: int = 256
    prefill_beside_decode: int = 64


def choose_batch(sessions: Sequence[Session], limits: BatchLimits, now: float) -> list[Slice]:
    """The next batch: a token of every session that waits for one, then prompts, up to the limits; sessions that come
    first in `sessions` (those served longest ago) go first.

    Only the first step of a session's queue is considered: its later ones need the cache that this one writes.
    now: time.monotonic().
    """
    waiting = [session for session in sessions if session.is_ready()]
    decode = [session for session in waiting if session.queue[0].remaining == 1][: limits.decode_rows]
    batch = [_slice(session, 1) for session in decode]
    anyone_decodes = bool(decode) or any(session.is_decoding(now) for session in sessions)
    budget = limits.prefill_beside_decode if anyone_decodes else limits.prefill_alone
    for session in waiting:
        remaining = session.queue[0].remaining
        if remaining > 1 and budget > 0:
            count = min(remaining, budget)
            batch.append(_slice(session, count))
            budget -= count
    return batch


def decoding(sessions: Sequence[Session], now: float) -> list[Session]:
    """Those whose next token is here, or may be expected within another of its rounds."""
    found = []
    for session in sessions:
        due = session.due()
        waits = bool(session.queue) and session.queue[0].remaining == 1
        if waits or (due is not None and now < due + session.away_s):
            found.append(session)
    return found


def hold_s(
    sessions: Sequence[Session], batch: Sequence[Slice], decode_s: float, now: float, enough: int = 2**31
) -> float:
    """How long to hold `batch` back for tokens that are about to arrive; 0: not at all.

    A decode batch costs little more for eight sessions than for one. Two half batches in turn cost the fixed part
    twice, so waiting for the other half pays if it comes within a part of that time. decode_s: what a decode batch
    takes. now: time.monotonic(). enough: rows that are not held back for more.
    """
    if len(batch) >= enough or any(item.count > 1 for item in batch):
        return 0.0
    latest = now + HOLD * decode_s - max(now - item.session.last_active for item in batch)
    due = [(session.due(), session.away_s) for session in sessions]
    # Rows that travel together are all expected now when the first is here, however wide the margin of `due` is after
    # a long way; it only says when to give one up.
    soon = [time_ for time_, away_s in due if time_ is not None and now < time_ and time_ - MARGIN * away_s <= latest]
    return max(min(max(soon, default=now), latest) - now, 0.0)


async def _let_others_run() -> None:
    """Give the event loop the few rounds it takes to send the last batch's answers and to accept what arrived."""
    for _ in range(4):
        await asyncio.sleep(0)


def _slice(session: Session, count: int) -> Slice:
    work = session.queue[0]
    return Slice(session, work, work.done, count)


class Scheduler:
    """Computes what is queued in its sessions and hands every output to `deliver(slice, output, queue_s, compute_s,
    batch_tokens)`, until stopped.

    Pages of a session that closes while a batch runs are released only after that batch.

    on_batch: if set, called with every batch once its outputs are on their way, when it began (time.perf_counter()),
    and the seconds its blocks took.
    """

    def __init__(
        self,
        runner: Runner,
        deliver: Callable[[Slice, torch.Tensor, float, float, int], None],
        release: Callable[[Session], None],
        limits: BatchLimits,
    ):
        self._runner, self._deliver, self._release = runner, deliver, release
        self._limits = limits
        self._sessions: dict[SessionKey, Session] = {}
        self._running: set[Session] = set()
        self._wake = asyncio.Event()
        self._token_s = INLINE_S  # running mean: the first batches go to the thread
        self._decode_s = 0.0  # running mean of a decode batch
        self._decode_times = DecodeTimes()
        self._stay_s = 0.0  # running mean of a decode step, from its arrival to its output's departure
        self._micro_batches = 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self.tokens_served = 0
        self.busy_s = 0.0  # spent computing
        self.on_batch: Callable[[Sequence[Slice], float, float], None] | None = None

    @property
    def queued_tokens(self) -> int:
        return sum(work.remaining for session in self._sessions.values() for work in session.queue)

    @property
    def decoding(self) -> int:
        """Sessions in the middle of generating."""
        return len(decoding(list(self._sessions.values()), time.monotonic()))

    def add(self, session: Session) -> None:
        self._sessions[session.key] = session

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    def remove(self, session: Session) -> None:
        """Forget `session`; its pages are released at once, or after the batch that is using them."""
        self._sessions.pop(session.key, None)
        session.queue.clear()
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
                await _let_others_run()
            if batch:
                self._runner.prepare_next(batch)

    async def _next_batch(self) -> list[Slice]:
        """What to compute now, perhaps after a short wait for more; empty if nothing waits."""
        while True:
            sessions, now = list(self._sessions.values()), time.monotonic()
            expected = decoding(sessions, now)
            waiting = sum(bool(session.queue) for session in expected)
            rows = rows_to_take(waiting, len(expected), self._micro_batches) if waiting else 0
            limits = replace(self._limits, decode_rows=min(rows, self._limits.decode_rows))
            batch = choose_batch(sessions, limits, now)
            share = -(-len(expected) // self._micro_batches)
            pause_s = hold_s(sessions, batch, self._decode_s, now, share) if batch else 0.0
            if not pause_s:
                return batch
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)

    async def _compute(self, batch: Sequence[Slice]) -> None:
        started = time.perf_counter()
        self._running = {item.session for item in batch}
        try:
            outputs, compute_s = await self._run(batch)
        except RuntimeError as error:  # out of memory, or a kernel that refuses its input: these sessions end, not us
            logger.exception("a batch of %d slices failed", len(batch))
            self._fail(batch, error)
            return
        finally:
            self._running = set()
            for item in batch:
                if not self._holds(item.session):
                    self._release(item.session)
        self.busy_s += compute_s
        tokens = sum(item.count for item in batch)
        self.tokens_served += tokens
        for item, output in zip(batch, outputs, strict=True):
            if self._holds(item.session):
                self._advance(item)
                self._deliver(item, output, started - item.work.arrived, compute_s, tokens)
                item.session.answered()
        if self.on_batch:
            self.on_batch(batch, started, compute_s)
        if tokens == len(batch):
            self._learn(batch, compute_s)

    def _learn(self, batch: Sequence[Slice], compute_s: float) -> None:
        """From a decode batch: what such batches take, and into how many to divide the sessions from now on."""
        self._decode_s += 0.2 * (compute_s - self._decode_s)
        self._decode_times.observe(len(batch), compute_s)
        stay_s = time.perf_counter() - min(item.work.arrived for item in batch)
        self._stay_s += 0.2 * (stay_s - self._stay_s)
        sessions = decoding(list(self._sessions.values()), time.monotonic())
        if sessions:
            away_s = sum(session.away_s for session in sessions) / len(sessions)
            self._micro_batches = micro_batches(
                len(sessions), self._decode_times.seconds, away_s + self._stay_s, self._micro_batches
            )

    async def _run(self, batch: Sequence[Slice]) -> tuple[list[torch.Tensor], float]:
        """Long batches go to the compute thread, so that the network is served meanwhile. Short ones are computed
        right here: handing them over and back costs 0.3 ms, which one session's token would feel, and gRPC's own
        threads go on receiving and sending.
        """
        tokens = sum(item.count for item in batch)
        if tokens * self._token_s <= INLINE_S:
            outputs = self._runner.run(batch)
        else:
            loop = asyncio.get_running_loop()
            outputs = await loop.run_in_executor(self._thread, self._runner.run, batch)
        self._token_s += 0.2 * (outputs[1] / tokens - self._token_s)
        return outputs

    def _advance(self, item: Slice) -> None:
        """Take a computed slice off its session's queue and put the session last in line."""
        session = item.session
        item.work.done += item.count
        if item.final:
            session.queue.popleft()
        self._sessions[session.key] = self._sessions.pop(session.key)

    def _holds(self, session: Session) -> bool:
        return self._sessions.get(session.key) is session

    def _fail(self, batch: Sequence[Slice], error: RuntimeError) -> None:
        for item in batch:
            item.session.queue.clear()
            item.session.fail(SwarmError(f"the computation failed on this peer: {error}"))

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
