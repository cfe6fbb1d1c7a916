"""Which steps are computed together, and what a session accepts: pure decisions, no network."""

import os
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest
from swarm.model.kv_cache import PAGE_TOKENS
from swarm.server.pipelining import DecodeTimes, micro_batches, rows_to_take
from swarm.server.scheduler import BatchLimits, choose_batch, hold_s
from swarm.server.sessions import MAX_FAULTS, OUTBOX_MESSAGES, Session
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import MAX_STEP_TOKENS

HIDDEN = 8
LIMITS = BatchLimits(decode_rows=4, prefill_alone=64, prefill_beside_decode=16)


def make_session(max_tokens: int = 1000) -> Session:
    request = pb.Open(session_id=os.urandom(16), start=0, stop=2, wire_dtype=pb.FLOAT32, max_tokens=max_tokens)
    return Session(request, list(range(-(-max_tokens // PAGE_TOKENS))), HIDDEN)


def make_step(position: int, rows: int, **changes: object) -> pb.Step:
    hidden = codec.encode(torch.ones(rows, HIDDEN), torch.float32)
    step = pb.Step(position=position, count=rows, hidden=hidden, want=pb.LAST)
    for name, value in changes.items():
        setattr(step, name, value)
    return step


def with_visits(count: int) -> pb.Step:
    step = make_step(0, 1)
    step.visits.extend(pb.Visit() for _ in range(count))
    return step


def waiting(*counts: int) -> list[Session]:
    """A session for each of `counts`, with a step of so many tokens waiting."""
    sessions = [make_session() for _ in counts]
    for session, count in zip(sessions, counts, strict=True):
        session.accept(make_step(0, count))
    return sessions


def test_all_waiting_tokens_are_one_batch():
    batch = choose_batch(waiting(1, 1, 1), LIMITS, time.monotonic())
    assert [item.count for item in batch] == [1, 1, 1]


def test_a_prompt_alone_gets_large_chunks_and_beside_tokens_small_ones():
    now = time.monotonic()
    assert [item.count for item in choose_batch(waiting(200), LIMITS, now)] == [64]
    assert sorted(item.count for item in choose_batch(waiting(200, 1), LIMITS, now)) == [1, 16]


def test_a_prompt_stays_out_of_the_way_of_a_session_between_two_tokens():
    decoding, prompt = waiting(1, 200)
    decoding.queue.clear()  # computed; the next token is on its way
    assert [item.count for item in choose_batch([decoding, prompt], LIMITS, time.monotonic())] == [16]
    assert [item.count for item in choose_batch([decoding, prompt], LIMITS, time.monotonic() + 60)] == [64]


@given(st.lists(st.integers(1, 300), max_size=12))
def test_a_batch_keeps_its_limits_and_is_empty_only_when_nothing_waits(counts):
    batch = choose_batch(waiting(*counts), LIMITS, time.monotonic())
    assert bool(batch) == bool(counts)
    assert len({item.session for item in batch}) == len(batch)
    decode = [item for item in batch if item.work.remaining == 1]
    prefill = sum(item.count for item in batch) - len(decode)
    assert len(decode) <= LIMITS.decode_rows
    assert prefill <= (LIMITS.prefill_beside_decode if 1 in counts else LIMITS.prefill_alone)


def test_slices_of_a_step_cover_it_once_in_order():
    (session,) = waiting(200)
    covered = []
    while session.queue:
        (item,) = choose_batch([session], LIMITS, time.monotonic())
        covered += range(item.position, item.position + item.count)
        item.work.done += item.count
        if item.final:
            session.queue.popleft()
    assert covered == list(range(200))


def test_steps_follow_each_other_and_may_rewind():
    session = make_session()
    session.accept(make_step(0, 10))
    session.accept(make_step(10, 1))
    session.accept(make_step(4, 3))  # truncates to 4, then 7 tokens
    session.accept(make_step(7, 1))
    with pytest.raises(InvalidRequest, match="position 11 leaves a gap: this session has 8 tokens"):
        session.accept(make_step(11, 1))


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        (make_step(1, 1), "gap"),
        (make_step(0, 1, count=0), "between 1 and"),
        (make_step(0, 1, count=2), "shape"),
        (make_step(0, 1, count=MAX_STEP_TOKENS + 1), "between 1 and"),
        (make_step(0, 101), "reserved"),
        (with_visits(300), "300 visits"),
        (make_step(4_000_000_000, 1), "gap"),
    ],
)
def test_a_bad_step_is_refused_and_changes_nothing(step, complaint):
    session = make_session(max_tokens=100)
    with pytest.raises(InvalidRequest, match=complaint):
        session.accept(step)
    assert not session.queue
    session.accept(make_step(0, 100))


def test_a_step_takes_the_place_of_what_it_rewinds_and_a_flood_of_them_takes_no_room():
    session = make_session(max_tokens=100)
    session.accept(make_step(0, 60))  # may be in computation
    for _ in range(9):  # more is refused, see test_attacks.py
        session.accept(make_step(0, 40))
        session.accept(make_step(40, 40))
        session.accept(make_step(80, 20))
        assert sum(work.remaining for work in session.queue) <= 60 + 100
    assert [(work.position, work.remaining) for work in session.queue] == [(0, 60), (0, 40), (40, 40), (80, 20)]


def test_a_session_that_goes_wrong_too_often_is_closed():
    session = make_session()
    for _ in range(MAX_FAULTS):
        session.fail(InvalidRequest("bad"))
    messages = [session.outbox.get_nowait() for _ in range(session.outbox.qsize())]
    assert [bool(message) for message in messages] == [True] * MAX_FAULTS + [False]


def test_a_client_that_does_not_read_is_taken_for_gone():
    session = make_session()
    for _ in range(OUTBOX_MESSAGES):
        session.send_on(pb.Step())
    assert not session.overflowed.is_set()
    session.send_on(pb.Step())
    assert session.overflowed.is_set()


def decoding_session(away_s: float, arrived: bool) -> Session:
    """A session in mid-generation, whose tokens take `away_s` to come round the chain."""
    session = make_session()
    session.accept(make_step(0, 1))
    session.queue.clear()
    session.answered()
    session.away_s = away_s
    if arrived:
        session.accept(make_step(1, 1))
    return session


def test_a_batch_waits_for_tokens_that_are_due_soon_but_not_for_late_ones():
    now = time.monotonic()
    here, soon, late = decoding_session(0.01, True), decoding_session(0.01, False), decoding_session(5.0, False)
    batch = choose_batch([here], LIMITS, now)
    assert hold_s([here], batch, 0.1, now) == 0
    assert 0 < hold_s([here, soon], batch, 0.1, now) <= 0.05
    assert 0 < hold_s([here, soon, late], batch, 0.1, now) <= 0.05
    assert hold_s([here, late], batch, 0.1, now) == 0
    assert hold_s([here, soon], batch, 0.1, now + 1.0) == 0  # it has waited long enough, or the other is not coming
    prompt = waiting(50)
    assert hold_s([*prompt, soon], choose_batch(prompt, LIMITS, now), 0.1, now) == 0


def test_a_batch_waits_for_its_companions_however_far_they_have_travelled():
    """After a long way the margin of a token's due time is longer than any hold; it must not send the first alone."""
    now = time.monotonic()
    here, companion = decoding_session(0.4, True), decoding_session(0.4, False)
    arrival = now + 0.4
    here.last_active = arrival
    assert 0 < hold_s([here, companion], choose_batch([here], LIMITS, arrival), 0.1, arrival) <= 0.075 + 1e-6
    assert hold_s([here, companion], choose_batch([here], LIMITS, arrival), 0.1, arrival, enough=1) == 0


def settle(sessions: int, batch_s, round_s: float) -> int:
    """The number of micro-batches that a server comes to, one step at a time."""
    count = 1
    for _ in range(2 * sessions):
        count = micro_batches(sessions, batch_s, round_s, count)
    return count


def test_sessions_are_divided_while_a_server_idles_and_the_time_of_a_batch_depends_on_its_size():
    def by_size(rows: float) -> float:
        return 0.01 + 0.01 * rows

    def fixed(rows: float) -> float:
        return 0.1

    assert settle(16, by_size, round_s=1.0) > 2
    assert settle(16, fixed, round_s=1.0) == 1  # weights are read again, and nobody gains
    assert settle(16, by_size, round_s=0.2) == 1  # this server has no time to spare
    assert settle(1, by_size, round_s=1.0) == 1


@given(st.integers(1, 64), st.floats(0, 0.1), st.floats(1e-4, 0.1), st.floats(0.001, 5))
def test_no_division_fills_a_server_beyond_a_part_of_the_round(sessions, fixed_s, row_s, round_s):
    count = settle(sessions, lambda rows: fixed_s + row_s * rows, round_s)
    assert 1 <= count <= sessions
    assert count == 1 or count * fixed_s + sessions * row_s <= 0.75 * round_s


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_a_batch_takes_its_share_and_leaves_no_small_rest(waiting, sessions, count):
    rows = rows_to_take(waiting, sessions, count)
    assert 1 <= rows <= waiting
    assert rows == waiting or waiting - rows >= rows / 2


def test_the_time_of_a_batch_is_learned_from_batches_of_other_sizes():
    times = DecodeTimes()
    assert times.seconds(8) == 0
    times.observe(16, 0.2)
    assert times.seconds(8) == pytest.approx(0.1)  # nothing better is known
    times.observe(4, 0.1)
    assert times.seconds(10) == pytest.approx(0.15)
    assert times.seconds(32) == pytest.approx(0.4)
    for _ in range(100):
        times.observe(16, 0.4)  # something else has the processor now
    assert times.seconds(16) == pytest.approx(0.4, rel=0.01)
