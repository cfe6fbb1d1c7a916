"""Which peer moves where: moves end, lose nothing, and come close to the best placement."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from placements import peer, swarms
from swarm.route.costs import PeerCosts
from swarm.route.peer import PeerInfo
from swarm.route.placement import rebalance
from swarm.route.placement.placed import (
    Placed,
    block_rates,
    place,
    placed_from_record,
    replicas,
    throughput,
    throughput_bound,
)
from swarm.route.placement.rebalance import MIN_GAIN, SMALL, Move, next_move, worth_moving
from swarm.wire import messages_pb2 as pb


def random_swarm(draw: random.Random, peers: int, num_blocks: int, most: int) -> list[Placed]:
    """Unequal peers at random, with memory for at most `most` blocks."""
    sizes = [draw.randint(1, most) for _ in range(peers)]
    swarm = [Placed(f"p{i:03d}", 0, 1, size, float(draw.randint(10, 200))) for i, size in enumerate(sizes)]
    return anywhere(swarm, num_blocks, draw)


def anywhere(swarm: list[Placed], num_blocks: int, draw: random.Random) -> list[Placed]:
    """The same peers at random."""
    widths = [draw.randint(1, each.max_blocks) for each in swarm]
    starts = [draw.randint(0, num_blocks - width) for width in widths]
    return [each.at(start, start + width) for each, start, width in zip(swarm, starts, widths, strict=True)]


def settle(swarm: list[Placed], num_blocks: int) -> tuple[list[Placed], int]:
    """(the swarm when no move is left, moves made). Fails if a placement comes back, for then moves would not end."""
    seen = set()
    while (move := next_move(swarm, num_blocks)) is not None:
        state = tuple((each.start, each.stop) for each in swarm)
        assert state not in seen
        seen.add(state)
        swarm = apply(swarm, move)
    return swarm, len(seen)


def apply(swarm: list[Placed], move: Move) -> list[Placed]:
    (mover,) = [each for each in swarm if each.peer_id == move.peer_id]
    assert not mover.pinned and move.stop - move.start <= mover.max_blocks
    assert (mover.start, mover.stop) != (move.start, move.stop)
    return [each.at(move.start, move.stop) if each is mover else each for each in swarm]


def optimum(swarm: list[Placed], num_blocks: int) -> float:
    """The most tokens/s over all placements, by trying every start and every width of every peer."""
    rates = np.zeros((1, num_blocks))
    for each in swarm:
        widths = range(1, min(each.max_blocks, num_blocks) + 1)
        ranges = [(start, start + width) for width in widths for start in range(num_blocks - width + 1)]
        own = np.array([block_rates([each.at(*blocks)], num_blocks) for blocks in ranges])
        rates = (rates[:, None] + own).reshape(-1, num_blocks)
    return float(rates.min(1).max())


# --- moving ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(swarms((1, 6), (1, 10)))
def test_moves_end_and_lose_neither_blocks_nor_throughput(case):
    swarm, num_blocks = case
    settled, _ = settle(swarm, num_blocks)
    assert (replicas(settled, num_blocks) == 0).sum() <= (replicas(swarm, num_blocks) == 0).sum()
    assert throughput(settled, num_blocks) >= throughput(swarm, num_blocks) / (1 + MIN_GAIN)
    assert [(each.start, each.stop) for each in settled if each.pinned] == [
        (each.start, each.stop) for each in swarm if each.pinned
    ]


@settings(max_examples=15)
@given(swarms((SMALL + 1, 40), (6, 24)))
def test_moves_of_larger_swarms_end_too(case):
    swarm, num_blocks = case
    settled, _ = settle(swarm, num_blocks)
    assert (replicas(settled, num_blocks) == 0).sum() <= (replicas(swarm, num_blocks) == 0).sum()


@pytest.mark.parametrize("most", [2, 5, 9])
@pytest.mark.parametrize("peers", [4, 30])
def test_every_block_gets_a_peer_when_there_is_just_enough_memory_for_all(peers, most):
    draw = random.Random(peers * most)
    for _ in range(2):
        sizes = [draw.randint(1, most) for _ in range(peers)]
        num_blocks = sum(sizes)
        starts = [draw.randint(0, num_blocks - size) for size in sizes]
        swarm = [
            peer(f"p{i:02d}", start, start + size, speed=draw.randint(10, 100))
            for i, (start, size) in enumerate(zip(starts, sizes, strict=True))
        ]
        settled, moves = settle(swarm, num_blocks)
        assert replicas(settled, num_blocks).tolist() == [1] * num_blocks
        assert moves <= 2 * peers


def test_too_little_memory_covers_as_much_as_it_can():
    draw = random.Random(0)
    for _ in range(2):
        swarm = random_swarm(draw, 20, 200, 8)
        settled, _ = settle(swarm, 200)
        assert (replicas(settled, 200) > 0).sum() == sum(each.max_blocks for each in swarm)


def test_only_the_peers_between_a_gap_and_an_overlap_move():
    """There is just enough memory, so no single move helps; each of five shifts by one block."""
    starts = [3 * index + (5 <= index < 10) for index in range(SMALL + 3)]
    swarm = [peer(f"p{index:02d}", start, start + 3) for index, start in enumerate(starts)]
    settled, moves = settle(swarm, 3 * len(swarm))
    assert [each.start for each in settled] == [3 * index for index in range(len(swarm))]
    assert moves == 5


@pytest.mark.parametrize("small", [0, SMALL])
def test_gaps_between_pinned_peers_are_filled_by_the_peers_that_fit(small, monkeypatch):
    """Six blocks are missing, and later four. The peer of four comes first and would go to the six."""
    monkeypatch.setattr(rebalance, "SMALL", small)
    pinned = [peer("a", 0, 4, pinned=True), peer("b", 10, 20, pinned=True), peer("c", 24, 30, pinned=True)]
    free = [peer("four", 0, 4), peer("three", 1, 4), peer("three too", 1, 4)]
    settled, _ = settle([*pinned, *free], 30)
    assert throughput(settled, 30) > 0


@pytest.mark.parametrize(("peers", "num_blocks"), [(3, 8), (4, 6), (5, 5)])
def test_small_swarms_come_close_to_the_best_placement_from_wherever_they_start(peers, num_blocks):
    draw = random.Random(peers)
    for _ in range(5):
        swarm = random_swarm(draw, peers, num_blocks, num_blocks)
        best = optimum(swarm, num_blocks)
        for _ in range(4):
            settled, moves = settle(anywhere(swarm, num_blocks, draw), num_blocks)
            assert throughput(settled, num_blocks) >= 0.94 * best
            assert moves <= 2 * peers + 1


def test_peers_that_join_one_after_another_come_close_too():
    draw = random.Random(9)
    for _ in range(8):
        num_blocks, swarm = 6, []
        for index in range(draw.randint(3, 4)):
            max_blocks, speed = draw.randint(2, num_blocks), float(draw.randint(10, 200))
            start, stop = place(max_blocks, speed, swarm, num_blocks)
            swarm, _ = settle([*swarm, Placed(f"p{index}", start, stop, max_blocks, speed)], num_blocks)
        assert throughput(swarm, num_blocks) >= 0.94 * optimum(swarm, num_blocks)


@pytest.mark.parametrize("start", ["anywhere", "on block 0", "one gap"])
def test_a_large_swarm_spreads_until_it_passes_nearly_what_its_compute_allows(start):
    draw = random.Random(1)
    swarm = random_swarm(draw, 60, 40, 10)
    if start == "on block 0":
        swarm = [each.at(0, each.stop - each.start) for each in swarm]
    if start == "one gap":
        swarm = [each.at(each.start // 2, each.start // 2 + each.stop - each.start) for each in swarm]
    settled, moves = settle(swarm, 40)
    assert throughput(settled, 40) > 0.85 * throughput_bound(swarm, 40)
    assert moves <= 90


def test_equal_peers_on_the_same_blocks_spread_evenly():
    swarm = [peer(f"p{i:02d}", 0, 4, max_blocks=4) for i in range(40)]
    settled, _ = settle(swarm, 20)
    assert block_rates(settled, 20).min() >= 0.95 * 40 * 100 / 20


@pytest.mark.parametrize("peers", [4, SMALL, 60])
def test_a_good_placement_is_left_alone_when_speeds_are_measured_again(peers):
    draw = random.Random(peers)
    swarm, _ = settle(random_swarm(draw, peers, 30, 12), 30)
    for _ in range(5):
        noisy = [dataclasses.replace(each, blocks_per_s=each.blocks_per_s * draw.uniform(0.95, 1.05)) for each in swarm]
        _, moves = settle(noisy, 30)
        assert moves <= 6


def test_the_loss_of_a_seventh_of_all_peers_is_made_good():
    draw = random.Random(3)
    swarm, _ = settle(random_swarm(draw, 60, 40, 4), 40)
    left = draw.sample(swarm, 51)
    settled, _ = settle(left, 40)
    assert throughput(settled, 40) > 0.8 * throughput_bound(left, 40)


@settings(max_examples=20)
@given(swarms((1, 9), (2, 8)), st.randoms())
def test_every_peer_computes_the_same_move_whatever_order_its_directory_is_in(case, shuffler):
    swarm, num_blocks = case
    again = list(swarm)
    shuffler.shuffle(again)
    assert next_move(swarm, num_blocks) == next_move(again, num_blocks)


@settings(max_examples=20)
@given(swarms((SMALL + 6, 40), (4, 15)))
def test_a_large_swarm_that_covers_everything_goes_on_doing_so(case):
    swarm, num_blocks = case
    assume(throughput(swarm, num_blocks) > 0 and sum(not each.pinned for each in swarm) > SMALL)
    while (move := next_move(swarm, num_blocks)) is not None:
        swarm = apply(swarm, move)
        assert throughput(swarm, num_blocks) > 0


def test_peers_that_are_pinned_are_never_asked_to_move():
    assert next_move([peer("a", 0, 5, max_blocks=10, pinned=True)], 10) is None
    assert next_move([peer("a", 0, 5, max_blocks=10)], 10) is not None


def test_an_empty_swarm_has_no_move():
    assert next_move([], 10) is None


# --- whether to move -------------------------------------------------------------------------------------------------


def test_a_move_must_outweigh_its_reload():
    move = Move("a", 0, 5, before=10.0, during=5.0, after=11.0, moves=1)
    assert worth_moving(move, reload_s=30, horizon_s=1200)
    assert not worth_moving(move, reload_s=300, horizon_s=1200)
    assert not worth_moving(dataclasses.replace(move, moves=20), reload_s=30, horizon_s=1200)


def test_a_gap_is_always_worth_a_reload():
    assert worth_moving(Move("a", 0, 5, before=0.0, during=0.0, after=1.0, moves=9), reload_s=1e6)


# --- records ---------------------------------------------------------------------------------------------------------


def info(**changes: object) -> PeerInfo:
    return PeerInfo("a", "m", "r", 2, 5, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load(), **changes)


def test_a_record_says_how_fast_its_peer_is_in_its_largest_batch():
    placed = placed_from_record(info(costs=PeerCosts(decode_s=(0.002, 0.0025, 0.004)), pinned=False, max_blocks=7))
    assert placed == Placed("a", 2, 5, 7, 1000.0)


def test_noise_in_a_record_does_not_change_the_plan():
    first, second = (placed_from_record(info(costs=PeerCosts(decode_s=(seconds,)))) for seconds in (0.001030, 0.001031))
    assert first.blocks_per_s == second.blocks_per_s == 970.0


def test_a_record_without_measurements_is_taken_at_the_default_and_its_range_as_its_memory():
    placed = placed_from_record(info())
    assert (placed.max_blocks, placed.pinned) == (3, True)
    assert placed.blocks_per_s > 0
