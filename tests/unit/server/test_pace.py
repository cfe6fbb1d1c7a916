"""Steps of a session, and when a batch waits for whom."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from swarm.errors import InvalidRequest
from swarm.server.scheduler.batching import BatchLimits, choose_batch, hold_s, yield_s
from swarm.server.scheduler.pipelining import DecodeTimes, micro_batches, rows_to_take
from swarm.server.session.session import Session
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import MAX_STEP_TOKENS
from waiting_sessions import compute, make_session, make_step, waiting

LIMITS = BatchLimits(decode_rows=4, prefill_alone=64, prefill_beside_decode=16)


def with_visits(count: int) -> pb.Step:
    step = make_step(0, 1)
    step.visits.extend(pb.Visit() for _ in range(count))
    return step


def test_slices_of_a_step_cover_it_once_in_order():
    (session,) = waiting(200)
    covered = []
    while session.steps.waiting:
        (item,) = choose_batch([session], LIMITS, time.monotonic())
        covered += range(item.position, item.position + item.count)
        session.steps.advance(item.count)
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
    assert not session.steps.waiting
    session.accept(make_step(0, 100))


def test_a_step_takes_the_place_of_what_it_rewinds_and_a_flood_of_them_takes_no_room():
    session = make_session(max_tokens=100)
    session.accept(make_step(0, 60))  # may be in computation
    for _ in range(9):  # more is refused, see test_attacks.py
        session.accept(make_step(0, 40))
        session.accept(make_step(40, 40))
        session.accept(make_step(80, 20))
        assert session.steps.waiting_tokens <= 60 + 100
    waiting = [(work.step.position, work.remaining) for work in session.steps.waiting]
    assert waiting == [(0, 60), (0, 40), (40, 40), (80, 20)]


def decoding_session(away_s: float, arrived_s: float = -1.0, background: bool = False) -> Session:
    """A session in mid-generation, whose tokens take `away_s` to come round the chain. Its last output left at 0; the
    next token is there since `arrived_s`, or on its way."""
    clock = Clock()
    clock.now_s = -away_s
    session = make_session(clock=clock, background=background)
    session.accept(make_step(0, 1))
    compute(session)
    session.pace.answered()
    clock.now_s = 0.0
    session.accept(make_step(1, 1))
    compute(session)
    session.pace.answered()
    if arrived_s >= 0:
        clock.now_s = arrived_s
        session.accept(make_step(2, 1))
    return session


def test_a_batch_waits_for_tokens_that_are_due_soon_but_not_for_late_ones():
    here, soon, late = decoding_session(0.01, 0.0), decoding_session(0.01), decoding_session(5.0)
    batch = choose_batch([here], LIMITS, 0.0)
    assert hold_s([here], batch, 0.1, 0.0) == 0
    assert 0 < hold_s([here, soon], batch, 0.1, 0.0) <= 0.05
    assert 0 < hold_s([here, soon, late], batch, 0.1, 0.0) <= 0.05
    assert hold_s([here, late], batch, 0.1, 0.0) == 0
    assert hold_s([here, soon], batch, 0.1, 1.0) == 0  # it has waited long enough, or the other is not coming
    prompt = waiting(50, clock=Clock())
    assert hold_s([*prompt, soon], choose_batch(prompt, LIMITS, 0.0), 0.1, 0.0) == 0


def test_a_batch_waits_for_its_companions_however_far_they_have_travelled():
    """After a long way the margin of a token's due time is longer than any hold; it must not send the first alone."""
    here, companion = decoding_session(0.4, 0.4), decoding_session(0.4)
    assert 0 < hold_s([here, companion], choose_batch([here], LIMITS, 0.4), 0.1, 0.4) <= 0.075 + 1e-6
    assert hold_s([here, companion], choose_batch([here], LIMITS, 0.4), 0.1, 0.4, enough=1) == 0


def test_background_work_that_would_keep_an_expected_token_waiting_waits_for_it():
    (background,) = waiting(1, background=True)
    other = decoding_session(0.2)  # its token comes in 200 ms, or in 250 at the latest
    work = choose_batch([background, other], LIMITS, 0.0)
    assert yield_s([other], work, 0.1, 0.0) == 0
    assert 0 < yield_s([other], work, 0.24, 0.0) <= 0.25
    assert yield_s([other], work, 0.24, 1.0) == 0  # it has not come
    assert yield_s([], work, 0.24, 0.0) == 0


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
