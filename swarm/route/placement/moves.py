"""All ways in which one peer of a swarm can move, scored at once. Pure."""

from collections.abc import Collection, Sequence

import numpy as np

from swarm.route.placement.placed import Placed, block_rates, fair_rate, penalties, replicas, sensible_widths

STEP = 1e-3  # least relative decrease of the penalties by a move worth making
_TIE = 1e-9  # relative: scores closer than this are equal, so that machines which round differently agree

Swarm = tuple[Placed, ...]  # in the order of peer ids


def standing(swarm: Swarm, num_blocks: int) -> tuple[int, float]:
    """(blocks without a peer, summed penalties of the others): the less, the better."""
    rates = block_rates(swarm, num_blocks)
    uncovered = int((replicas(swarm, num_blocks) == 0).sum())
    return uncovered, float(penalties(rates, fair_rate(swarm, num_blocks)).sum())


def moved(swarm: Swarm, peer: Placed) -> Swarm:
    """`swarm` with the peer of that id where `peer` says."""
    return tuple(peer if other.peer_id == peer.peer_id else other for other in swarm)


def best_single(
    swarm: Swarm, num_blocks: int, movers: Collection[str] | None = None, narrower: bool = True
) -> Placed | None:
    """The best move of one peer: which, and where it is then. None: nobody may move.

    Any start and any of its sensible widths, or with `narrower` off only the greatest, which is several times faster;
    for all peers that are not pinned, or for those of them in `movers`; judged by `standing` after the move.
    """
    free = [i for i, p in enumerate(swarm) if not p.pinned and (movers is None or p.peer_id in movers)]
    if not free:
        return None
    widths = [sensible_widths(swarm[i].max_blocks, num_blocks)[: None if narrower else 1] for i in free]
    row, width = np.repeat(np.arange(len(free)), [len(of) for of in widths]), np.concatenate(widths)
    compute, network = np.array([(swarm[i].blocks_per_s, swarm[i].network_tokens_per_s) for i in free]).T[:, row]
    speed = np.minimum(compute / width, network)
    uncovered, penalty = _score(swarm, [swarm[i] for i in free], row, width, speed, num_blocks)
    best = penalty[uncovered == uncovered.min()].min()
    choice = np.argmax((uncovered == uncovered.min()) & (penalty <= best * (1 + _TIE)))
    option, start = divmod(int(choice), num_blocks)
    return swarm[free[int(row[option])]].at(start, start + int(width[option]))


def improving_single(swarm: Swarm, num_blocks: int) -> Placed | None:
    """The best move of one peer if it leaves fewer gaps, or as many and lowers the penalties by STEP at least."""
    peer = best_single(swarm, num_blocks)
    if peer is None:
        return None
    (gaps, penalty), (gaps_after, penalty_after) = (standing(s, num_blocks) for s in (swarm, moved(swarm, peer)))
    return peer if (gaps_after, penalty_after) < (gaps, penalty * (1 - STEP)) else None


def _score(
    swarm: Swarm, free: Sequence[Placed], row: np.ndarray, width: np.ndarray, speed: np.ndarray, num_blocks: int
) -> tuple[np.ndarray, np.ndarray]:
    """(uncovered blocks, summed penalties) after free[row[i]] took width[i] blocks from j on: [options, num_blocks].

    A sum over all blocks is one over the blocks before the range, within, and after it, from cumulative sums. Only
    within is it a difference of two, which is accurate: what cancels there was never larger than the whole.
    """
    blocks = np.arange(num_blocks)
    starts, stops, own = np.array([(p.start, p.stop, p.tokens_per_s) for p in free]).T[:, :, None]
    serves = (blocks >= starts) & (blocks < stops)
    alone = serves & (replicas(swarm, num_blocks) == 1)
    rates = np.where(alone, 0.0, block_rates(swarm, num_blocks) - serves * own)  # [free, blocks], without the mover
    scale = fair_rate(swarm, num_blocks)
    without = penalties(rates, scale)
    before, after = _cumulative(without), _cumulative(without[:, ::-1])[:, ::-1]
    within = _cumulative(penalties(rates[row] + speed[:, None], scale))
    gaps = _cumulative(rates == 0)
    ends = blocks + width[:, None]
    beyond = ends > num_blocks
    ends[beyond] = num_blocks
    ends_by_peer, ends_by_option = (ends + (num_blocks + 1) * of[:, None] for of in (row, np.arange(len(row))))
    uncovered = gaps[row, -1:] - gaps.take(ends_by_peer) + gaps[row, :-1]
    penalty = before[row, :-1] + within.take(ends_by_option) - within[:, :-1] + after.take(ends_by_peer)
    uncovered[beyond], penalty[beyond] = num_blocks + 1, np.inf
    return uncovered, penalty


def _cumulative(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... values of each row."""
    sums = np.zeros((len(values), values.shape[1] + 1), dtype=np.float64 if values.dtype == float else np.int64)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
