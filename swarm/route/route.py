"""Choosing a chain of peers that covers the model: pure, no I/O."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swarm.errors import NoRoute
from swarm.route.costs import Link
from swarm.route.record import PeerInfo


@dataclass(frozen=True)
class Candidate:
    """A peer as the search sees it, for one request: all figures are for the state that the request would meet.

    They are the peer's claims, corrected by what the client has seen.
    """

    peer: PeerInfo
    decode_s: float  # one block, one step of the batch that this request would join
    prefill_s: float  # one block, one token of a prompt
    queue_s: float  # wait before a step's batch begins
    client: Link  # between the client and this peer
    links: Mapping[str, Link] = field(default_factory=dict)  # to other peers, by peer id, as far as they are measured
    price: float = 0.0  # one token through one block
    hazard_per_s: float = 0.0  # rate at which this peer is expected to vanish


@dataclass(frozen=True)
class Request:
    """What a chain is wanted for."""

    prompt_tokens: int
    new_tokens: int
    token_bytes: int  # one token's activations on the wire
    seconds_per_price: float = 0.0  # what saving one unit of price is worth
    max_price: float | None = None  # for the whole request
    recovery_s: float = 1.0  # pause that a lost peer costs
    token_s: float = 0.1  # expected time per token, by which hazards are weighed
    start: int = 0  # a whole chain, or a replacement for part of one
    stop: int | None = None  # None: to the end of the model
    before: str | None = None  # peer id of the hop before; None: the client
    after: str | None = None  # of the hop after; None: the client


@dataclass(frozen=True)
class Hop:
    """One peer's part in a chain."""

    peer: PeerInfo
    start: int  # first block it computes in this chain
    stop: int  # one past the last


def fewest_hops(peers: Sequence[PeerInfo], num_blocks: int, rng: random.Random) -> list[Hop]:
    """A chain of `peers` over blocks 0 to `num_blocks` with the fewest hops; ties are broken at random.

    Taking, at each block, a peer that reaches furthest is optimal here: any other chain could be exchanged, hop by
    hop, for this one without getting longer. Raises NoRoute naming the blocks that nobody covers.
    """
    chain: list[Hop] = []
    block = 0
    while block < num_blocks:
        furthest = max((peer.stop for peer in peers if peer.start <= block), default=0)
        if furthest <= block:
            raise NoRoute(_explain(peers, num_blocks))
        candidates = [peer for peer in peers if peer.start <= block and peer.stop == furthest]
        chain.append(Hop(rng.choice(candidates), block, min(furthest, num_blocks)))
        block = furthest
    return chain


def missing_blocks(peers: Sequence[PeerInfo], num_blocks: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) of blocks that none of `peers` serves."""
    gaps, covered = [], 0
    for start, stop in sorted(peer.blocks for peer in peers):
        if start > covered:
            gaps.append((covered, start))
        covered = max(covered, stop)
    if covered < num_blocks:
        gaps.append((covered, num_blocks))
    return gaps


def _explain(peers: Sequence[PeerInfo], num_blocks: int) -> str:
    gaps = [f"{start}:{stop}" for start, stop in missing_blocks(peers, num_blocks)]
    return (
        f"no peer serves blocks {', '.join(gaps)} of this model's {num_blocks}; "
        f"start one with `python -m swarm.server --blocks {gaps[0]}`"
    )
