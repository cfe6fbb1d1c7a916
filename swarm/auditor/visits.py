"""Whom to look at next: everybody equally often, also those whom no client would choose. Pure.

A visit is a whole chain, like any user's. A session of one hop, which would be cheaper, gives itself away: its inputs
come from the client and its outputs go back to it, in the middle of the model.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from swarm.results import Hop
from swarm.route.peer import PeerInfo
from swarm.route.route import uncovered


class Visits:
    """How much of each peer's work was looked at: 1.0 is all of its blocks, once."""

    def __init__(self, rng: random.Random):
        """rng: breaks ties, so it should be unpredictable."""
        self._rng = rng
        self.counts: defaultdict[str, float] = defaultdict(float)  # by peer id

    def plan(self, peers: Sequence[PeerInfo], num_blocks: int) -> list[Hop]:
        """A chain on which the peer that was looked at least computes all of its blocks, and others that were looked
        at little the rest. Raises NoRoute if `peers` do not cover the model."""
        target = min(peers, key=self._rank, default=None)
        if target is None:
            raise uncovered(peers, num_blocks)
        before = self._fill(peers, num_blocks, 0, target.start)
        after = self._fill(peers, num_blocks, target.stop, num_blocks)
        return [*before, _hop(target, target.start, target.stop), *after]

    def note(self, chain: Sequence[Hop], peers: Sequence[PeerInfo]) -> None:
        """`chain` was tried; whatever came of it, it is others' turn."""
        blocks = {peer.peer_id: peer.stop - peer.start for peer in peers}
        for hop in chain:
            self.counts[hop.peer_id] += (hop.blocks[1] - hop.blocks[0]) / blocks[hop.peer_id]

    def _fill(self, peers: Sequence[PeerInfo], num_blocks: int, start: int, stop: int) -> list[Hop]:
        hops = []
        while start < stop:
            able = [peer for peer in peers if peer.start <= start < peer.stop]
            if not able:
                raise uncovered(peers, num_blocks)
            peer = min(able, key=self._rank)
            hops.append(_hop(peer, start, min(peer.stop, stop)))
            start = hops[-1].blocks[1]
        return hops

    def _rank(self, peer: PeerInfo) -> tuple[float, float]:
        return self.counts[peer.peer_id], self._rng.random()


def _hop(peer: PeerInfo, start: int, stop: int) -> Hop:
    return Hop(peer.peer_id, (start, stop))
