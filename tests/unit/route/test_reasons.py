"""A plan says in words why."""

import pytest

from placements import peer
from swarm.route.placement.placed import place
from swarm.route.placement.reasons import why_moved, why_placed
from swarm.route.placement.rebalance import next_move


@pytest.mark.parametrize(
    ("placed", "reason"),
    [
        ([], "nobody serves anything yet, and 5 of 10 blocks fit here"),
        ([peer("a", 0, 7)], "nobody serves blocks 7:10"),
        ([peer("a", 0, 5), peer("b", 6, 9)], "nobody serves blocks 5:6, 9:10"),
        ([peer("a", 0, 10), peer("b", 0, 5)], "only one peer serves blocks 5:10"),
        ([peer("a", 0, 10), peer("b", 0, 5), peer("c", 0, 5), peer("d", 5, 10)], "the swarm could pass"),
        ([peer("a", 0, 5, speed=1.0), peer("b", 0, 5, speed=1.0), peer("c", 5, 10), peer("d", 5, 10)],
         "the swarm could pass 20.4 tokens/s instead of 0.4"),
    ],
)  # fmt: skip
def test_a_newcomer_is_told_why_it_takes_these_blocks(placed, reason):
    blocks = place(5, 100.0, placed, 10)
    assert why_placed(blocks, 100.0, placed, 10).startswith(reason)


def test_a_peer_that_moves_is_told_why():
    alone = peer("a", 0, 5)
    spare = [alone, peer("b", 0, 5)]
    move = next_move(spare, 10)
    assert why_moved(move, spare, 10) == "nobody serves blocks 5:10"
    crowded = [*spare, peer("c", 0, 5), peer("d", 5, 10)]
    move = next_move(crowded, 10)
    assert why_moved(move, crowded, 10).startswith("the swarm could pass 40 tokens/s instead of 20")
