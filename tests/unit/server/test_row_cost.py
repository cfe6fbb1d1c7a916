"""What a row takes of a processor: from what was measured at the start to what batches take."""

import pytest

from swarm.route.costs import PeerCosts
from swarm.server.costs.row_cost import SIZES, RowCost, row_s

START = PeerCosts(decode_s=(0.010, 0.011, 0.013, 0.017, 0.025), row_s=0.0012)


def test_it_begins_with_what_was_measured():
    assert RowCost(START).value_s == pytest.approx(0.0012)


def test_without_that_it_follows_from_the_times_of_batches():
    assert RowCost(PeerCosts(START.decode_s)).value_s == pytest.approx((0.025 + 48 * 0.001) / 64)
    assert row_s([8, 16], [0.017, 0.025]) == pytest.approx((0.025 + 48 * 0.001) / 64)


@pytest.mark.parametrize("busy_s", [0.03, 0.3])
def test_large_batches_say_it(busy_s):
    cost = RowCost(START)
    for _ in range(200):
        cost.observe(64, busy_s)
    assert cost.value_s == pytest.approx(busy_s / 64, rel=0.02)


def test_small_batches_hardly_change_what_large_ones_take():
    cost = RowCost(START)
    for _ in range(200):
        cost.observe(1, START.decode_s[0])
    assert cost.value_s == pytest.approx(0.0012, rel=0.3)


def test_what_cannot_be_is_left_out():
    cost = RowCost(START)
    for rows in (0, SIZES[-1] + 1):
        cost.observe(rows, 100.0)
    assert cost.value_s == pytest.approx(0.0012)
    cost.observe(1, 0.0)
    assert cost.value_s > 0
