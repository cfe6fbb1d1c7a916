"""Running means, and what a batch takes by its size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.route.means import BatchTimes, RunningMean

SIZES = (1, 2, 4, 8, 16)
positive = st.floats(1e-6, 1e3)


def test_what_is_observed_first_is_the_mean():
    mean = RunningMean(0.2)
    assert (mean.is_known, mean.value) == (False, 0.0)
    mean.observe(5.0)
    assert (mean.is_known, mean.value) == (True, 5.0)
    mean.observe(10.0)
    assert mean.value == pytest.approx(6.0)


def test_a_start_counts_as_known_even_if_it_is_nothing():
    mean = RunningMean(0.5, start=0.0)
    assert mean.is_known
    mean.observe(8.0)
    assert mean.value == pytest.approx(4.0)


def test_it_may_rise_slowly_and_fall_at_once():
    mean = RunningMean(0.1, fall=1.0, start=1.0)
    mean.observe(2.0)
    assert mean.value == pytest.approx(1.1)
    mean.observe(0.5)
    assert mean.value == pytest.approx(0.5)


def test_it_fades():
    mean = RunningMean(0.1, start=4.0)
    mean.fade(0.25)
    assert mean.value == pytest.approx(1.0)


@given(st.floats(0.01, 1.0), st.lists(positive, min_size=1))
def test_a_mean_stays_among_what_was_observed(rate, values):
    mean = RunningMean(rate)
    for value in values:
        mean.observe(value)
    assert min(values) * (1 - 1e-9) <= mean.value <= max(values) * (1 + 1e-9)


@given(
    st.lists(positive, min_size=5, max_size=5),
    st.lists(st.tuples(st.integers(1, 16), positive), max_size=20),
    st.floats(1, 64),
    st.floats(1, 64),
)
def test_no_larger_batch_ever_takes_less(start, batches, rows, more):
    times = BatchTimes(SIZES, sorted(start))
    for size, seconds in batches:
        times.correct(size, seconds)
    least, most = sorted((rows, more))
    assert 0 < times.seconds(least) <= times.seconds(most) * (1 + 1e-9)


@pytest.mark.parametrize("rows", [1, 3, 4, 11, 16])
def test_a_size_comes_to_take_what_its_batches_took(rows):
    times = BatchTimes(SIZES, [1.0, 1.5, 2.5, 3.0, 4.0])
    for _ in range(200):
        times.correct(rows, 7.0)
    assert times.seconds(rows) == pytest.approx(7.0, rel=0.01)
