"""How long a client waits for an answer, and what it makes of its hops' progress when none comes."""

import pytest

from swarm.session.patience import (
    LEAST_PATIENCE_S,
    MOST_PATIENCE_S,
    UNKNOWN_S,
    StepClock,
    at_work,
    silent,
    stuck_before,
)
from swarm.wire import messages_pb2 as pb


def hops(*progress: tuple[int, int]) -> list[pb.Progress]:
    """(received, computed) of each, one past the last position."""
    return [pb.Progress(received=received, computed=computed) for received, computed in progress]


def test_hops_that_say_nothing_are_named():
    assert silent([None, pb.Progress(), None]) == [0, 2]


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ([(8, 8), (7, 7), (7, 7)], 1),
        ([(8, 8), (8, 8), (7, 7)], 2),
        ([(8, 7), (7, 7), (7, 7)], None),  # the first is at work still
        ([(8, 8), (8, 7), (7, 7)], None),
        ([(8, 8), (8, 8), (8, 8)], None),
    ],
)
def test_what_one_hop_has_computed_and_the_next_not_received_is_stuck_between_them(progress, expected):
    assert stuck_before(hops(*progress), 8) == expected


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ([(8, 7), (7, 7)], 0),
        ([(8, 8), (8, 7)], 1),
        ([(8, 8), (7, 7)], None),
        ([(8, 8), (8, 8)], None),
    ],
)
def test_the_hop_that_has_received_and_not_computed_is_at_work(progress, expected):
    assert at_work(hops(*progress), 8) == expected


def test_patience_is_the_mean_and_four_deviations_within_limits():
    clock = StepClock()
    assert clock.patience_s(1) == UNKNOWN_S
    clock.observe(0.2)
    assert clock.patience_s(1) == pytest.approx(0.2 + 4 * 0.1)
    clock.observe(0.28)
    assert clock.patience_s(1) == pytest.approx(0.21 + 4 * 0.095)
    assert clock.patience_s(2) == UNKNOWN_S  # nobody knows what a prompt takes
    for step_s, limit_s in ((0.001, LEAST_PATIENCE_S), (9.0, MOST_PATIENCE_S)):
        for _ in range(100):
            clock.observe(step_s)
        assert clock.patience_s(1) == limit_s
