"""How many tokens per second a swarm can pass, by what its peers announce."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overviews import NUM_BLOCKS, peer, ranges
from swarm.peers.status.room import capacities, capacity, room

COSTS = {"decode_s": (0.001, 0.0015)}


def test_a_step_costs_more_than_its_blocks():
    alone = peer("a", 0, NUM_BLOCKS, **COSTS)
    assert capacity(alone) == pytest.approx(2 / (0.0015 * NUM_BLOCKS))
    with_steps = peer("a", 0, NUM_BLOCKS, step_s=0.002, **COSTS)
    assert capacity(with_steps) == pytest.approx(2 / (0.0015 * NUM_BLOCKS + 2 * 0.002))


def test_what_a_row_takes_counts_for_more_than_the_times_of_small_batches():
    said = {**COSTS, "row_s": 0.0002, "step_s": 0.001, "threads": 1}
    alone = peer("a", 0, NUM_BLOCKS, cores=1, **said)
    assert capacity(alone) == pytest.approx(1 / (0.0002 * NUM_BLOCKS + 0.001))
    halves = [peer("a", 0, 6, cores=1, machine=b"m", **said), peer("b", 6, 12, cores=1, machine=b"m", **said)]
    assert room(halves, NUM_BLOCKS) == pytest.approx(1 / (0.0002 * NUM_BLOCKS + 2 * 0.001))


def test_peers_that_share_processors_pass_no_more_than_these_can():
    costs = {**COSTS, "step_s": 0.001, "threads": 1, "cores": 2}
    halves = (0, 6), (6, 12)
    apart = [peer(f"p{start}", start, stop, machine=bytes([start]), **costs) for start, stop in halves]
    together = [peer(f"p{start}", start, stop, machine=b"m", **costs) for start, stop in halves]
    one_core = [peer(f"p{start}", start, stop, machine=b"m", **{**costs, "cores": 1}) for start, stop in halves]
    a_token_s = 0.0015 * 6 / 2 + 0.001  # of a processor, at each
    assert room(apart, NUM_BLOCKS) == room(together, NUM_BLOCKS) == pytest.approx(1 / a_token_s)
    assert room(one_core, NUM_BLOCKS) == pytest.approx(1 / (2 * a_token_s))


def test_replicas_on_one_processor_add_nothing():
    costs = {**COSTS, "step_s": 0.001, "threads": 1, "cores": 1, "machine": b"m"}
    one = room([peer("a", 0, NUM_BLOCKS, **costs)], NUM_BLOCKS)
    assert room([peer(name, 0, NUM_BLOCKS, **costs) for name in "abc"], NUM_BLOCKS) == pytest.approx(one)


def test_a_gpu_takes_no_processor_for_its_blocks():
    costs = {**COSTS, "step_s": 0.001, "threads": 0, "cores": 1, "machine": b"m"}
    halves = [peer("a", 0, 6, **costs), peer("b", 6, 12, **costs)]
    assert room(halves, NUM_BLOCKS) == pytest.approx(min(1 / (0.0015 * 6 / 2 + 0.001), 1 / 0.002))


@given(ranges, st.integers(0, 4), st.floats(0.0, 0.01))
def test_there_is_never_more_room_than_at_the_narrowest_block(blocks, cores, step_s):
    costs = {**COSTS, "step_s": step_s, "threads": 1, "cores": cores}
    peers = [peer(f"p{index}", *at, **costs) for index, at in enumerate(blocks)]
    narrowest = min(capacities(peers, NUM_BLOCKS))
    assert 0 <= room(peers, NUM_BLOCKS) <= narrowest
    assert (room(peers, NUM_BLOCKS) == 0) == (narrowest == 0)
