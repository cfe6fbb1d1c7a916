"""What a chain of peers that covers the model is, what it costs, and which blocks none covers: pure, no I/O.

The cheapest chain is found by swarm.route.search.chains.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.errors import InvalidRequest, NoRoute, in_words
from swarm.route.costs import Link
from swarm.route.peer import PeerInfo
from swarm.wire.formats.quotes import FREE, Offer, Price
from swarm.wire.peer_names import find_peer


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
    price: Price = FREE
    idle_price: Price = FREE  # for background sessions
    hazard_per_s: float = 0.0  # rate at which this peer is expected to vanish


@dataclass(frozen=True)
class Request:
    """What a chain is wanted for: a whole chain, or a replacement for part of one."""

    prompt_tokens: int  # for a replacement: those to replay
    new_tokens: int
    token_bytes: int  # one token's activations on the wire
    seconds_per_price: float = 0.0  # what saving a nano-credit is worth
    max_price: int | None = None  # for the whole request, in nano-credits
    background: bool = False  # at the idle price
    recovery_s: float = 1.0  # pause that a lost peer costs
    token_s: float = 0.1  # expected time per token, by which hazards are weighed
    start: int = 0  # first block
    stop: int | None = None  # one past the last; None: to the end of the model
    before: Candidate | None = None  # the hop before; None: the client
    after: Candidate | None = None  # the hop after; None: the client

    @property
    def tokens(self) -> int:
        """That are computed."""
        return self.prompt_tokens + self.new_tokens

    def price_of(self, candidate: Candidate, blocks: int) -> int:
        """Nano-credits for all of them through so many blocks of a candidate."""
        price = candidate.idle_price if self.background else candidate.price
        return price.due(blocks, self.prompt_tokens, self.new_tokens)


@dataclass(frozen=True)
class Hop:
    """One peer's part in a chain."""

    peer: PeerInfo
    start: int  # first block it computes in this chain
    stop: int  # one past the last
    offer: Offer | None = None  # what it offered for an order; None: it is paid what its record asks


@dataclass(frozen=True)
class Chain:
    """Hops in order, and what a request is expected to cost on them."""

    hops: tuple[Hop, ...]
    seconds: float  # everything in one figure: time, expected loss of peers, and the price at its worth in seconds
    token_s: float  # between two new tokens
    prefill_s: float  # until the prompt is through
    price: int  # of the whole request, in nano-credits


def cost_chain(hops: Sequence[Hop], candidates: Mapping[str, Candidate], request: Request) -> Chain:
    """What `request` costs on `hops`; `candidates` by peer id. This sum is what the search minimises, and what tells
    two chains apart once fresher figures are known."""
    peers = [candidates[hop.peer.peer_id] for hop in hops]
    blocks = [hop.stop - hop.start for hop in hops]
    legs, back = _legs(peers, request)
    links = legs if back is None else [*legs, back]
    token_s = sum(count * peer.decode_s + peer.queue_s for count, peer in zip(blocks, peers, strict=True))
    token_s += sum(link.one_way_s(request.token_bytes) for link in links)
    prefill_s = sum(count * peer.prefill_s for count, peer in zip(blocks, peers, strict=True)) * request.prompt_tokens
    prefill_s += sum(link.one_way_s(request.prompt_tokens * request.token_bytes) for link in legs)
    if back is not None:
        prefill_s += back.one_way_s(request.token_bytes)  # only the last position comes back
    losses = request.new_tokens * request.token_s * sum(peer.hazard_per_s for peer in peers)
    price = sum(request.price_of(peer, count) for count, peer in zip(blocks, peers, strict=True))
    seconds = request.new_tokens * token_s + prefill_s + losses * request.recovery_s
    return Chain(tuple(hops), seconds + request.seconds_per_price * price, token_s, prefill_s, price)


def _legs(peers: Sequence[Candidate], request: Request) -> tuple[list[Link], Link | None]:
    """The links that a whole prompt crosses, and the one back to the client, if the last hop answers to it."""
    first = peers[0].client if request.before is None else link_between(request.before, peers[0])
    legs = [first, *(link_between(left, right) for left, right in itertools.pairwise(peers))]
    if request.after is None:
        return legs, peers[-1].client
    return [*legs, link_between(peers[-1], request.after)], None


def link_between(left: Candidate, right: Candidate) -> Link:
    """As measured by either, the worse figure where both did. Where neither did, the round trip lies between the
    difference and the sum of those to the client; their maximum is the middle of that."""
    if left.peer.peer_id == right.peer.peer_id:
        return Link(0.0, math.inf)
    measured = [left.links.get(right.peer.peer_id), right.links.get(left.peer.peer_id)]
    links = [link for link in measured if link is not None] or [left.client, right.client]
    return Link(max(link.round_trip_s for link in links), min(link.bytes_per_s for link in links))


def chain_of(
    wanted: Sequence[tuple[str, tuple[int, int]]], peers: Iterable[PeerInfo], start: int, stop: int
) -> list[Hop]:
    """The chain over blocks `start` to `stop` that somebody wants: peers by their names, and the blocks that each is to
    compute.

    Raises NoRoute if one of them is not among `peers` or does not serve its blocks, InvalidRequest for blocks that do
    not follow one another from `start` to `stop`, and for a name that several have.
    """
    known, block, chain = {peer.peer_id: peer for peer in peers}, start, []
    for peer_id, (first, last) in wanted:
        peer = known.get(peer_id)
        if peer is None and any(one.endswith(peer_id) for one in known):
            peer = known[find_peer(peer_id, known, "that can be used")]
        if first != block or first >= last:
            raise InvalidRequest(f"a chain that goes on with blocks {first}:{last} after block {block}")
        if peer is None:
            raise NoRoute(f"no peer that can be used at the moment has an id that ends in {peer_id!r:.80}")
        if not peer.start <= first < last <= peer.stop:
            raise NoRoute(f"peer {peer_id!r:.80} serves blocks {peer.start}:{peer.stop}, and not {first}:{last}")
        chain.append(Hop(peer, first, last))
        block = last
    if block != stop:
        raise InvalidRequest(f"a chain that ends at block {block} and not at {stop}")
    return chain


def gaps(served: Iterable[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) of the blocks from `start` to `stop` that are in none of `served`."""
    found, covered = [], start
    for first, last in [*sorted(served), (stop, stop)]:
        if covered < min(first, stop):
            found.append((covered, min(first, stop)))
        covered = max(covered, last)
    return found


def missing_blocks(peers: Sequence[PeerInfo], num_blocks: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) of blocks that none of `peers` serves."""
    return gaps((peer.blocks for peer in peers), 0, num_blocks)


def uncovered(peers: Sequence[PeerInfo], num_blocks: int, start: int = 0, stop: int | None = None) -> NoRoute:
    """The error that says that `peers` make no chain over blocks `start` to `stop`, and for want of which blocks."""
    missing = gaps((peer.blocks for peer in peers), start, num_blocks if stop is None else stop)
    return NoRoute(f"no peer serves blocks {in_words(missing)} of this model's {num_blocks}", missing)
