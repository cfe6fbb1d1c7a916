"""The next move of a swarm: which one peer should serve other blocks. Pure.

Every peer computes the same move from the same directory, and only the peer that it names moves; then all compute
again. Nothing is remembered between moves, so what is left of a plan must be found again from where it stands. That
plans end all the same is shown for each rule where it is implemented:

- While some block has no peer: swarm.route.placement.coverage.
- At most SMALL peers that may move: towards the best placement there is (`_approach`).
- More: single moves uphill (`_climb`).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.route.placement.coverage import gap_move
from swarm.route.placement.moves import Swarm, best_single, improving_single, moved, standing
from swarm.route.placement.packing import best_placements, displaced
from swarm.route.placement.placed import Placed, throughput, throughput_bound

MIN_GAIN = 0.05  # of throughput, for which a plan begins
SMALL = 24  # peers that may move, up to which the best placement is searched for
FEW = 6  # moves: a longer plan of a small swarm must gain more in proportion, lest noise sets all peers moving
LOOK_AHEAD = 64  # moves within which a plan must have gained MIN_GAIN
_HORIZON_S = 1200.0  # for how long a placement is expected to stay of use

_Kind = tuple[int, float, float, bool]


@dataclass(frozen=True)
class Move:
    """`peer_id` should serve blocks `start` to `stop` instead; throughputs in tokens/s."""

    peer_id: str
    start: int
    stop: int
    before: float  # now; 0 with a gap
    during: float  # while this peer reloads and serves nothing
    after: float  # at the end of the plan of which this is the first move
    moves: int  # in that plan, at the most

    @property
    def gain(self) -> float:
        """Relative, of throughput, at the end of the plan; inf where a gap is filled."""
        return self.after / self.before - 1 if self.before else math.inf


def next_move(placed: Sequence[Placed], num_blocks: int, min_gain: float = MIN_GAIN) -> Move | None:
    """The next move of the whole swarm, or None when it is well placed. Deterministic, and independent of the order.

    A gap is filled whenever it can be; otherwise a plan only begins if it would raise throughput by `min_gain`.
    """
    swarm = tuple(sorted(placed, key=lambda peer: peer.peer_id))
    if not num_blocks or all(peer.pinned for peer in swarm):
        return None
    before = throughput(swarm, num_blocks)
    if before * (1 + min_gain) >= throughput_bound(swarm, num_blocks) and before > 0:
        return None
    if sum(not peer.pinned for peer in swarm) <= SMALL:
        targets = best_placements(displaced(swarm), num_blocks)
        if throughput(targets[0], num_blocks) > 0:
            return _approach(swarm, targets, num_blocks, min_gain)
    if before == 0:
        peer = gap_move(swarm, num_blocks)
        return _move(swarm, peer, num_blocks, throughput(moved(swarm, peer), num_blocks), 1) if peer else None
    return _climb(swarm, num_blocks, min_gain)


def worth_moving(move: Move, reload_s: float, horizon_s: float = _HORIZON_S) -> bool:
    """Whether the tokens gained until `horizon_s` from now outweigh those lost while peers reload, `reload_s` each.

    Where a block has no peer it always is.
    """
    lost = (move.before - move.during) * reload_s * move.moves
    gained = (move.after - move.before) * max(0.0, horizon_s - reload_s * move.moves)
    return move.before == 0 or gained > lost


def _move(swarm: Swarm, peer: Placed, num_blocks: int, after: float, moves: int) -> Move:
    others = [other for other in swarm if other.peer_id != peer.peer_id]
    return Move(
        peer.peer_id, peer.start, peer.stop, throughput(swarm, num_blocks), throughput(others, num_blocks), after, moves
    )


def _climb(swarm: Swarm, num_blocks: int, min_gain: float) -> Move | None:
    """The first of the best single moves, if LOOK_AHEAD of them gain enough; no block is ever left without a peer.

    Each lowers the penalties by at least a factor, and they have a lower bound: climbing ends.
    """
    here, first = swarm, None
    enough = throughput(swarm, num_blocks) * (1 + min_gain)
    for count in range(1, LOOK_AHEAD + 1):
        peer = improving_single(here, num_blocks)
        if peer is None:
            return None
        here, first = moved(here, peer), first or peer
        if throughput(here, num_blocks) >= enough:
            return _move(swarm, first, num_blocks, throughput(here, num_blocks), count)
    return None


def _approach(swarm: Swarm, targets: Sequence[Swarm], num_blocks: int, min_gain: float) -> Move | None:
    """A move towards the nearest of `targets`, which depend on the peers but not on where they are.

    Let d be the number of peers that are not in their places there, equal peers being interchangeable. (a) Good
    enough: no move. (b) One move makes it so: that one. (c) With a gap: the best move that closes it without
    increasing d. (d) Otherwise one of the d peers goes to its place. d never grows before (a) or (b) ends everything,
    (c) never follows (c), and (d) lowers d: after at most 2 d + 1 moves nothing moves. Good enough means less the
    larger d is; a plan that has begun goes on, as d falls, unless throughput has already risen enough.
    """
    now, best = throughput(swarm, num_blocks), max(throughput(target, num_blocks) for target in targets)
    if now * (1 + min_gain) >= best:
        return None
    finish = best_single(swarm, num_blocks)
    if finish is None:  # all are pinned
        return None
    finished = throughput(moved(swarm, finish), num_blocks)
    if finished * (1 + min_gain) >= best:
        return _move(swarm, finish, num_blocks, finished, 1)
    target, strays = min(((target, _strays(swarm, target)) for target in targets), key=lambda pair: len(pair[1]))
    if now * (1 + min_gain * max(1, len(strays) / FEW)) >= best:
        return None
    peer = best_single(swarm, num_blocks, movers=strays)
    if peer is None or not standing(swarm, num_blocks)[0] or standing(moved(swarm, peer), num_blocks)[0]:
        steps = [stray.at(*place) for stray in swarm for place in sorted(strays.get(stray.peer_id, ()))]
        peer = min(steps, key=lambda step: standing(moved(swarm, step), num_blocks))
    return _move(swarm, peer, num_blocks, throughput(target, num_blocks), len(strays))


def _strays(swarm: Swarm, target: Swarm) -> dict[str, set[tuple[int, int]]]:
    """Peers that are not in their place in `target`, by id, and the places that are free for each.

    Peers of equal memory and speed are interchangeable: as many as possible are in place.
    """
    wanted: defaultdict[_Kind, Counter[tuple[int, int]]] = defaultdict(Counter)
    for peer in target:
        wanted[_kind(peer)][peer.start, peer.stop] += 1
    strays = []
    for peer in swarm:
        if wanted[_kind(peer)][peer.start, peer.stop] > 0:
            wanted[_kind(peer)][peer.start, peer.stop] -= 1
        else:
            strays.append(peer)
    return {peer.peer_id: set(+wanted[_kind(peer)]) for peer in strays}


def _kind(peer: Placed) -> _Kind:
    return peer.max_blocks, peer.blocks_per_s, peer.network_tokens_per_s, peer.pinned
