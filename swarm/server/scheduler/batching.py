"""Which steps of which sessions are computed together, and when. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.server.session.session import Session
from swarm.server.session.steps import Slice
from swarm.wire.formats.quotes import MAX_PRICE

HOLD = 0.75  # of a decode batch's time: how long one may be held back for more tokens
MARGIN = 0.2  # of the time that Pace.due() allows a token, beyond the usual
FEE_AGEING_S = 0.025  # of waiting within the batches are worth as much as a priority fee twice as high
MAX_FEE_S = FEE_AGEING_S * math.log2(1 + MAX_PRICE)


@dataclass(frozen=True)
class BatchLimits:
    """How many tokens one batch may hold.

    A batch takes as long as its tokens need, and every decoding session waits for it: beside decoding sessions a
    prompt therefore advances in small chunks, alone in large ones, which use the processor better.
    """

    decode_rows: int = 64
    prefill_alone: int = 256
    prefill_beside_decode: int = 64
    top_up: int = 0  # rows of background sessions beside those of others


def choose_batch(sessions: Sequence[Session], limits: BatchLimits, now: float) -> list[Slice]:
    """The next batch: a token of every session that waits for one, then prompts, up to the limits. Where there are more
    than fit, those go first that `in_turn` says.

    Background sessions are computed only while no other waits, but for `limits.top_up` of their tokens.
    Only the first step of a session's queue is considered: its later ones need the cache that this one writes.
    now: time.monotonic().
    """
    on_demand: list[Session] = []
    background: list[Session] = []
    for session in sessions:
        if session.is_ready():
            (background if session.reservation.background else on_demand).append(session)
    tokens, prompts = _by_kind(on_demand or background)
    batch = [Slice.next(session, 1) for session in in_turn(tokens, limits.decode_rows)]
    if on_demand and limits.top_up:
        batch += [Slice.next(session, 1) for session in in_turn(_by_kind(background)[0], limits.top_up)]
    if prompts:
        budget = _prompt_budget(sessions, bool(on_demand), bool(batch), limits, now)
        for session in in_turn(prompts):
            count = min(session.steps.next_rows, budget)
            if count > 0:
                batch.append(Slice.next(session, count))
                budget -= count
    return batch


def _by_kind(waiting: Sequence[Session]) -> tuple[list[Session], list[Session]]:
    """Those that wait for a single token, and those for more, as for a prompt."""
    tokens: list[Session] = []
    prompts: list[Session] = []
    for session in waiting:
        (tokens if session.steps.next_rows == 1 else prompts).append(session)
    return tokens, prompts


def _prompt_budget(
    sessions: Sequence[Session], on_demand: bool, anyone_decodes: bool, limits: BatchLimits, now: float
) -> int:
    """Tokens of prompts in the next batch. Background sessions do not slow an on-demand prompt down. Their own advance
    in small chunks wherever an on-demand session is open, for its next step would have to wait for the chunk."""
    for session in sessions:
        background = session.reservation.background
        if session.pace.is_decoding(now):
            anyone_decodes |= not (on_demand and background)
        else:
            anyone_decodes |= not (on_demand or background)
    return limits.prefill_beside_decode if anyone_decodes else limits.prefill_alone


def in_turn(waiting: list[Session], limit: int | None = None) -> list[Session]:
    """The first `limit` of `waiting`, None: all, in the order of

        when it was last served - FEE_AGEING_S * log2(1 + priority fee)

    and, where that is equal, as they come (those served longest ago first). FEE_AGEING_S of waiting are worth as much
    as a fee twice as high. So nobody starves: whoever was served MAX_FEE_S after a session's last turn, or later, is
    behind it, whatever it pays. Where all fit, or nobody pays a fee, the order stays as it is and costs nothing.
    """
    if len(waiting) > (1 if limit is None else limit) and any(one.reservation.priority_fee for one in waiting):
        waiting = sorted(waiting, key=_turn)
    return waiting[:limit]


def _turn(session: Session) -> float:
    return session.pace.served - FEE_AGEING_S * math.log2(1 + session.reservation.priority_fee)


def decoding(sessions: Sequence[Session], now: float) -> list[Session]:
    """Those whose next token is here, or may be expected within another of its rounds."""
    found = []
    for session in sessions:
        is_here = session.steps.next_rows == 1
        if is_here or ((due := session.pace.due()) is not None and now < due + session.pace.away.value):
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
    latest = now + HOLD * decode_s - max(now - item.session.pace.last_active for item in batch)
    due = [(session.pace.due(), session.pace.away.value) for session in sessions]
    # Rows that travel together are all expected now when the first is here, however wide the margin of `due` is after
    # a long way; it only says when to give one up.
    soon = [time_ for time_, away_s in due if time_ is not None and now < time_ and time_ - MARGIN * away_s <= latest]
    return max(min(max(soon, default=now), latest) - now, 0.0)


def yield_s(on_demand: Sequence[Session], batch: Sequence[Slice], batch_s: float, now: float) -> float:
    """How long to hold `batch` back, if it is of background sessions, because a token of one of the sessions
    `on_demand` is about to arrive, and would have to wait for it. batch_s: what it takes. now: time.monotonic()."""
    if not all(item.session.reservation.background for item in batch):
        return 0.0
    due = [(session.pace.due(), session.pace.away.value) for session in on_demand]
    soon = [time_ for time_, away_s in due if time_ and now < time_ and time_ - MARGIN * away_s < now + batch_s]
    return max(soon, default=now) - now
