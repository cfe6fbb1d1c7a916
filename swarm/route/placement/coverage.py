"""Which peer moves next when some block has no peer. Pure.

The rules look at nothing but where the peers are now, and still come to an end:

1. If single moves, each the best there is, lead to as few gaps as there can be, the first of them. What remains of
   that walk is found again after each move, and every move leaves fewer uncovered blocks.
2. Otherwise peers are laid out anew in their present order. With sorted (start, id), widths w_i = max_blocks,
   pos_i = the first block that nobody before i covers, and lo_i = the smallest start from which i and those after it
   still reach the end, peer i belongs at its own start, clamped to between lo_i and pos_i. Starts, lo and pos all
   grow with i, and so do the targets. Those move first that do not pass a neighbour on the way, so the order stays;
   then pos, lo and the targets are the same after each move, and at most one move per peer is needed.
   Blocks that pinned peers cover are skipped by pos and by lo. lo_0 > pos_0 means that, in this order, peers do not
   reach: too much of them would fall on pinned blocks. Without pinned peers it means that there is not enough memory
   in the swarm; with the bounds swapped, the same formula then lays ranges out without overlap, which covers most.
3. In that order it does not work: a search for another one, which does not depend on where peers are now. Each move
   takes one peer to its final place.
4. Nothing covers everything: any move that leaves fewer gaps.
"""

from swarm.route.placement.moves import Swarm, best_single, moved, standing
from swarm.route.placement.packing import covering_placement, displaced
from swarm.route.placement.placed import Placed, replicas


def gap_move(swarm: Swarm, num_blocks: int) -> Placed | None:
    """The next peer to move and where to, in a swarm of which some block has no peer. None: it cannot get better."""
    first, left = _greedy_walk(swarm, num_blocks)
    if first and left <= _fewest_gaps(swarm, num_blocks):
        return first
    return _tiling_move(swarm, num_blocks) or _packing_move(swarm, num_blocks) or first


def _greedy_walk(swarm: Swarm, num_blocks: int) -> tuple[Placed | None, int]:
    """(first move, uncovered blocks in the end) of the walk on which each move is the best."""
    first, left = None, standing(swarm, num_blocks)[0]
    while left:
        peer = best_single(swarm, num_blocks, narrower=False)
        if peer is None:
            break
        swarm = moved(swarm, peer)
        after = standing(swarm, num_blocks)[0]
        if after >= left:
            break
        first, left = first or peer, after
    return first, left


def _fewest_gaps(swarm: Swarm, num_blocks: int) -> int:
    """No placement leaves fewer blocks without a peer."""
    free = [peer for peer in swarm if not peer.pinned]
    return max(0, sum(_open_blocks(swarm, num_blocks)) - sum(peer.max_blocks for peer in free))


def _open_blocks(swarm: Swarm, num_blocks: int) -> list[bool]:
    """Of each block, whether it has no pinned peer."""
    return [bool(count == 0) for count in replicas([peer for peer in swarm if peer.pinned], num_blocks)]


def _tiling_move(swarm: Swarm, num_blocks: int) -> Placed | None:
    order = sorted((peer for peer in swarm if not peer.pinned), key=lambda peer: (peer.start, peer.peer_id))
    starts = _tiling(order, _open_blocks(swarm, num_blocks))
    if starts is None:
        return None
    leftward = [start < peer.start for start, peer in zip(starts, order, strict=True)]
    rightward = [start > peer.start for start, peer in zip(starts, order, strict=True)]
    for index, (peer, start) in enumerate(zip(order, starts, strict=True)):
        target = peer.at(start, min(start + peer.max_blocks, num_blocks))
        free_left = leftward[index] and not (index and leftward[index - 1])
        free_right = rightward[index] and not (index + 1 < len(order) and rightward[index + 1])
        if free_left or free_right or (start == peer.start and peer.stop < target.stop):
            return target
    return None


def _tiling(order: list[Placed], is_open: list[bool]) -> list[int] | None:
    """Where each of the peers begins, in the order given. None: in this order they do not reach."""
    num_blocks = len(is_open)
    lows, low = [], num_blocks
    for peer in reversed(order):
        while low > 0 and not is_open[low - 1]:
            low -= 1
        low -= peer.max_blocks
        lows.append(low)
    starts, position = [], 0
    for peer, low in zip(order, reversed(lows), strict=True):
        while position < num_blocks and not is_open[position]:
            position += 1
        if low > position and not all(is_open):
            return None
        start = min(max(peer.start, min(low, position), 0), max(low, position))
        starts.append(start)
        position = max(position, start + peer.max_blocks)
    return starts


def _packing_move(swarm: Swarm, num_blocks: int) -> Placed | None:
    goal = covering_placement(displaced(swarm), num_blocks)
    if goal is None:
        return None
    places = {peer.peer_id: peer for peer in goal}
    return next((places[peer.peer_id] for peer in swarm if places[peer.peer_id] != peer), None)
