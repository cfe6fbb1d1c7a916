"""Which steps are computed together, and what a session accepts: pure decisions, no network."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest
from swarm.server.admission.line import MAX_FEE
from swarm.server.scheduler.batching import MAX_FEE_S, BatchLimits, choose_batch, hold_s, in_turn, yield_s
from swarm.server.scheduler.pipelining import DecodeTimes, micro_batches, rows_to_take, rows_to_top_up
from swarm.server.session.session import Session
from swarm.wire import messages_pb2 as pb
from swarm.wire.transport import MAX_STEP_TOKENS
from waiting_sessions import Clock, compute, make_session, make_step, waiting

LIMITS = BatchLimits(decode_rows=4, prefill_alone=64, prefill_beside_decode=16)


def with_visits(count: int) -> pb.Step:
    step = make_step(0, 1)
    step.visits.extend(pb.Visit() for _ in range(count))
    return step


def test_all_waiting_tokens_are_one_batch():
    batch = choose_batch(waiting(1, 1, 1), LIMITS, time.monotonic())
    assert [item.count for item in batch] == [1, 1, 1]


def test_a_prompt_alone_gets_large_chunks_and_beside_tokens_small_ones():
    now = time.monotonic()
    assert [item.count for item in choose_batch(waiting(200), LIMITS, now)] == [64]
    assert sorted(item.count for item in choose_batch(waiting(200, 1), LIMITS, now)) == [1, 16]


def test_a_prompt_stays_out_of_the_way_of_a_session_between_two_tokens():
    decoding, prompt = waiting(1, 200)
    compute(decoding)  # the next token is on its way
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


def paying(*fees: int, clock: Clock | None = None) -> list[Session]:
    """Sessions that wait for a token, all served at the same time."""
    return [session for fee in fees for session in waiting(1, fee=fee, clock=clock or Clock())]


def chosen(batch: list) -> list[Session]:
    return [item.session for item in batch]


def test_where_not_all_fit_the_higher_fees_go_first_and_equal_ones_as_before():
    sessions = paying(0, 5, 0, 5, 9, 0)
    first, second, third, fourth, fifth, _ = sessions
    assert chosen(choose_batch(sessions, LIMITS, 0.0)) == [fifth, second, fourth, first]
    assert in_turn(sessions, 5) == [fifth, second, fourth, first, third]


def test_where_all_fit_fees_change_nothing():
    sessions = paying(0, 5, 0, 9)
    assert chosen(choose_batch(sessions, LIMITS, 0.0)) == sessions


def test_the_prompt_that_pays_more_is_first_in_its_batch():
    clock = Clock()
    (cheap,), (dear,) = waiting(50, clock=clock), waiting(50, fee=7, clock=clock)
    batch = choose_batch([cheap, dear], LIMITS, 0.0)
    assert [(item.session, item.count) for item in batch] == [(dear, 50), (cheap, 14)]


@given(st.lists(st.integers(0, MAX_FEE), min_size=2, max_size=12), st.floats(0.001, 0.4))
def test_a_session_without_a_fee_is_passed_over_for_no_longer_than_its_docstring_says(fees, batch_s):
    """The others always have a token waiting, and a batch takes one of them."""
    clock = Clock()
    sessions = paying(0, *fees, clock=clock)
    while (session := in_turn(sessions, 1)[0]) is not sessions[0]:
        clock.now_s += batch_s
        session.pace.answered()
        assert clock.now_s <= MAX_FEE_S + batch_s * (len(fees) + 1)


def test_background_sessions_are_computed_only_while_no_other_waits():
    (background,), (prompt, token) = waiting(1, background=True), waiting(200, 1)
    now = time.monotonic()
    assert chosen(choose_batch([background, prompt], LIMITS, now)) == [prompt]
    assert chosen(choose_batch([background, token], LIMITS, now)) == [token]
    compute(token)
    assert chosen(choose_batch([background, token], LIMITS, now)) == [background]


def test_tokens_of_background_sessions_join_where_they_cost_nothing_but_their_prompts_do_not():
    (background, prompt, another), (token,) = waiting(1, 200, 1, background=True), waiting(1)
    limits = replace(LIMITS, top_up=1)
    batch = choose_batch([background, prompt, another, token], limits, time.monotonic())
    assert chosen(batch) == [token, background]


def test_a_background_sessions_prompt_comes_in_small_chunks_where_an_on_demand_session_is_open():
    (prompt,), (other,) = waiting(200, background=True), waiting(20)
    compute(other)
    now = time.monotonic()
    assert [item.count for item in choose_batch([prompt], LIMITS, now)] == [64]
    assert [item.count for item in choose_batch([prompt, other], LIMITS, now)] == [16]


def test_a_background_session_that_decodes_does_not_slow_an_on_demand_prompt_down():
    (background,), (prompt,) = waiting(1, background=True), waiting(200)
    assert [item.count for item in choose_batch([background, prompt], LIMITS, time.monotonic())] == [64]


def test_a_decode_batch_is_topped_up_only_as_far_as_that_costs_nearly_nothing():
    def reads_weights(rows: float) -> float:  # a GPU
        return 0.01 + 0.00001 * rows

    def by_size(rows: float) -> float:  # a processor
        return 0.01 * rows

    assert rows_to_top_up(8, 40, reads_weights) == 40
    assert rows_to_top_up(8, 56, lambda rows: reads_weights(min(rows, 32)) * max(rows / 32, 1)) == 14
    assert rows_to_top_up(8, 40, by_size) == 0
    assert rows_to_top_up(0, 40, reads_weights) == 0  # nobody to join
    assert rows_to_top_up(8, 40, DecodeTimes().seconds) == 0  # nothing is known


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
    assert [(work.position, work.remaining) for work in session.steps.waiting] == [(0, 60), (0, 40), (40, 40), (80, 20)]


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
