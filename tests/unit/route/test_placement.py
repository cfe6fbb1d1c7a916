"""Which blocks a newcomer takes: throughput in closed form, gaps first, then the slowest blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from placements import peer, swarms
from swarm.route.placement.placed import (
    Placed,
    place,
    replicas,
    throughput,
    throughput_bound,
)

# --- throughput ------------------------------------------------------------------------------------------------------


def flow(swarm: list[Placed], num_blocks: int, scale: int = 10**6) -> float:
    """Maximum flow along chains: source, peers of block 0; from a peer, those that serve the block after its end."""
    size = 2 * len(swarm) + 2
    capacities = np.zeros((size, size), dtype=np.int32)
    for i, each in enumerate(swarm):
        capacities[2 * i, 2 * i + 1] = round(each.tokens_per_s * scale / 1000)
        capacities[-2, 2 * i] = 10**9 * (each.start == 0)
        capacities[2 * i + 1, -1] = 10**9 * (each.stop == num_blocks)
        for j, after in enumerate(swarm):
            capacities[2 * i + 1, 2 * j] = 10**9 * (after.start <= each.stop < after.stop)
    return maximum_flow(csr_array(capacities), size - 2, size - 1).flow_value * 1000 / scale


@given(swarms((1, 9), (1, 9)))
def test_the_closed_form_is_the_maximum_flow(case):
    swarm, num_blocks = case
    assert throughput(swarm, num_blocks) == pytest.approx(flow(swarm, num_blocks), abs=0.02)


@given(swarms((1, 9), (1, 9)))
def test_no_placement_exceeds_the_bound(case):
    swarm, num_blocks = case
    assert throughput(swarm, num_blocks) <= throughput_bound(swarm, num_blocks) * (1 + 1e-9)
    assert throughput_bound(swarm, num_blocks) <= sum(each.blocks_per_s for each in swarm) / num_blocks * (1 + 1e-9)


def test_a_slow_network_limits_a_peer():
    assert peer("a", 0, 10, speed=100, network_tokens_per_s=3.0).tokens_per_s == 3.0
    assert peer("a", 0, 10, speed=100).tokens_per_s == 10.0


# --- joining ---------------------------------------------------------------------------------------------------------


def test_the_first_peer_takes_as_much_as_it_can_from_the_first_block():
    assert place(12, 100.0, [], 30) == (0, 12)
    assert place(50, 100.0, [], 30) == (0, 30)


def test_a_newcomer_fills_the_gap_before_anything_else():
    swarm = [peer("a", 0, 10, speed=1), peer("b", 14, 30, speed=1000), peer("c", 14, 30, speed=1000)]
    start, stop = place(6, 100.0, swarm, 30)
    assert start <= 10 and stop >= 14


def test_a_newcomer_makes_the_second_replica_before_it_helps_the_slowest():
    swarm = [peer("a", 0, 5, speed=1), peer("b", 0, 5, speed=1), peer("c", 5, 10, speed=1000)]
    assert place(5, 100.0, swarm, 10) == (5, 10)


def test_a_newcomer_helps_the_slowest_blocks_along_existing_boundaries():
    fast = [peer(f"f{i}{start}", start, start + 10, speed=200) for start in (0, 20) for i in range(2)]
    slow = [peer(f"s{i}", 10, 20, speed=50) for i in range(2)]
    assert place(10, 100.0, fast + slow, 30) == (10, 20)


@given(swarms((1, 10), (2, 12)), st.integers(1, 12))
def test_a_newcomer_fills_as_much_of_a_gap_as_it_can(case, max_blocks):
    swarm, num_blocks = case
    start, stop = place(max_blocks, 100.0, swarm, num_blocks)
    missing = replicas(swarm, num_blocks) == 0
    width = min(max_blocks, num_blocks)
    most = max(missing[first : first + width].sum() for first in range(num_blocks - width + 1))
    assert 0 < stop - start <= width and missing[start:stop].sum() == most
