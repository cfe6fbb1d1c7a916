"""With the required stake, no cheat pays that audits see; without, nobody is trusted with anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cheating_earnings import burst, caught_in_burst, segments_until_caught
from swarm.errors import InvalidRequest
from swarm.market.stake import (
    IN_FLIGHT,
    Auditing,
    quoted_stake,
    required_stake,
    segment_revenue,
)
from swarm.wire.formats.quotes import Price, Quote

PRICE = Price(20, 100)
prices = st.builds(Price, st.integers(0, 10**9), st.integers(1, 10**9))
blocks = st.integers(1, 100)


def auditings() -> st.SearchStrategy[Auditing]:
    return st.builds(
        lambda rate, detected, false: Auditing(rate, detected, false * detected),
        st.floats(0.001, 1), st.floats(0.01, 1), st.floats(0, 0.9),
    )  # fmt: skip


def test_the_default_is_fifty_segments_of_revenue():
    assert segment_revenue(PRICE, 10) == 10 * 256 * 100
    assert required_stake(PRICE, 10) == 50 * segment_revenue(PRICE, 10)


@given(prices, blocks, auditings(), st.floats(0, 1))
def test_to_cheat_on_every_segment_loses_more_than_it_saves(price, count, auditing, saved):
    stake = required_stake(price, count, saved=saved, auditing=auditing)
    gain = saved * segment_revenue(price, count)
    assert gain <= auditing.rate * (auditing.detected - auditing.false) * stake * (1 + 1e-9)


@given(prices, blocks, auditings(), st.floats(0, 1), st.integers(1, IN_FLIGHT))
def test_a_burst_of_as_many_segments_as_may_be_in_flight_loses_too(price, count, auditing, saved, segments):
    stake = required_stake(price, count, saved=saved, auditing=auditing)
    gain = segments * saved * segment_revenue(price, count)
    assert gain <= auditing.caught(segments) * stake * (1 + 1e-9)


def test_rarer_audits_and_blinder_ones_need_more_stake():
    usual = required_stake(PRICE, 10)
    assert required_stake(PRICE, 10, auditing=Auditing(rate=0.005)) > 2 * usual
    assert required_stake(PRICE, 10, auditing=Auditing(detected=0.1)) > 2 * usual
    assert required_stake(PRICE, 10, auditing=Auditing(detected=0.2, false=0.15)) > 2 * usual


@pytest.mark.parametrize("bad", [{"rate": 0}, {"rate": 1.1}, {"detected": 0}, {"detected": 0.1, "false": 0.1}])
def test_where_audits_tell_nothing_no_stake_is_enough_and_it_says_so(bad):
    with pytest.raises(InvalidRequest, match="no stake deters"):
        Auditing(**bad)


def test_a_quote_calls_for_the_stake_of_its_dearest_price():
    quote = Quote(ledger=bytes(32), price=Price(500, 100), idle_price=Price(1, 1))
    assert quoted_stake(quote, 3) == required_stake(Price(500, 0), 3)
    assert quoted_stake(Quote(), 3) == 0


# --- what the benchmark reckons with ---------------------------------------------------------------------------------


def test_a_cheat_that_every_audit_finds_lasts_as_long_as_audits_are_rare():
    assert segments_until_caught(fail=1, suspect=0, audits=1, rate=0.05) == pytest.approx(20)
    assert segments_until_caught(fail=0.5, suspect=0, audits=None, rate=0.05) == pytest.approx(40)
    assert segments_until_caught(fail=0, suspect=0, audits=None, rate=0.05) == float("inf")


def test_after_a_first_suspicion_audits_are_ten_times_as_many():
    assert segments_until_caught(fail=0, suspect=1, audits=3, rate=0.05) == pytest.approx(20 + 2 * 2)


def test_a_burst_is_caught_by_one_certain_audit_or_by_enough_suspicions():
    assert caught_in_burst(20, fail=1, audits=1, rate=0.05) == pytest.approx(1 - 0.95**20)
    assert caught_in_burst(2, fail=0, audits=3, rate=0.5) == 0
    assert caught_in_burst(3, fail=0, audits=3, rate=0.5) == pytest.approx(0.5**3)


def test_a_burst_with_what_only_many_audits_find_can_pay_and_this_is_said():
    assert burst(fail=1, audits=1, rate=0.05)[0] < 0
    assert burst(fail=0, audits=3, rate=0.05)[0] > 0
