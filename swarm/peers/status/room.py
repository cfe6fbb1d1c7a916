"""How many tokens per second a swarm can pass, by what its peers announce. Pure.

Every session passes each block once, so what the peers of one block do together bounds what the whole swarm does. And
peers of one machine share its processors: a token takes of them what it takes at each of its hops there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from swarm.route.costs import BATCHES
from swarm.route.peer import PeerInfo


def capacity(info: PeerInfo) -> float | None:
    """Tokens per second through all blocks of a peer that is never idle and has its machine to itself; None if it
    announces no costs."""
    row_s = _row_s(info)
    return 1 / (row_s * (info.stop - info.start) + info.costs.step_s) if row_s else None


def capacities(infos: Sequence[PeerInfo], num_blocks: int) -> list[float]:
    """For each block, what its peers pass together: tokens per second, [num_blocks]."""
    sums = [0.0] * num_blocks
    for info in infos:
        for block in range(info.start, min(info.stop, num_blocks)):
            sums[block] += capacity(info) or 0.0
    return sums


def room(infos: Sequence[PeerInfo], num_blocks: int) -> float:
    """Tokens per second of all sessions together, where there are enough of them; 0 where a block has no peer. infos:
    that are usable."""
    per_block = capacities(infos, num_blocks)
    bounds = [min(per_block, default=0.0)]
    for together in _by_machine(infos).values():
        taken_s = sum(_share(info, per_block) * _processor_s(info) for info in together)
        if taken_s:
            bounds.append(min(info.costs.cores for info in together) / taken_s)
    return min(bounds)


def _by_machine(infos: Sequence[PeerInfo]) -> Mapping[bytes, Sequence[PeerInfo]]:
    """Those that say of how many processors."""
    together = defaultdict(list)
    for info in infos:
        if info.costs.cores:
            together[info.costs.machine or info.record_hash].append(info)
    return together


def _share(info: PeerInfo, per_block: Sequence[float]) -> float:
    """Of all tokens, that which passes it: at the block where others help it least."""
    own = capacity(info) or 0.0
    return max((own / total for total in per_block[info.start : info.stop] if total), default=0.0)


def _processor_s(info: PeerInfo) -> float:
    """Of its machine's processors, for one token."""
    return _row_s(info) * (info.stop - info.start) * info.costs.threads + info.costs.step_s


def _row_s(info: PeerInfo) -> float:
    """Of one block, for one token; 0 if it announces no costs. Peers of older versions announce the times of a few
    batches only."""
    costs = info.costs
    shares = (seconds / batch for batch, seconds in zip(BATCHES, costs.decode_s, strict=False))
    return costs.row_s or min(shares, default=0.0)
