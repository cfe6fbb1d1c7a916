"""Which tokens make a batch."""

import time
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from swarm.server.admission.line import MAX_FEE
from swarm.server.scheduler.batching import MAX_FEE_S, BatchLimits, choose_batch, in_turn
from swarm.server.scheduler.pipelining import DecodeTimes, rows_to_top_up
from swarm.server.session.session import Session
from waiting_sessions import compute, waiting

LIMITS = BatchLimits(decode_rows=4, prefill_alone=64, prefill_beside_decode=16)


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
