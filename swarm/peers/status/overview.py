"""A picture of the swarm that serves one model: from its directory records, and what its peers answered. Pure.

Totals are taken at the narrowest place. Every session passes each block once, so what the peers of one block do
together bounds what the whole swarm does, and the block where they do least gives the closest bound.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from swarm.peers.status.room import capacities, capacity, room
from swarm.route.costs import Link
from swarm.route.peer import PeerInfo
from swarm.route.route import gaps, missing_blocks
from swarm.wire import messages_pb2 as pb
from swarm.wire.hosts import join_address

Figure = TypeVar("Figure", int, float)


class State(StrEnum):
    """Whether a chain may be made of a peer, and if not, why not."""

    ONLINE = "online"
    MOVING = "moving"  # serves, and is about to leave for other blocks
    LOADING = "loading"  # its blocks: nobody may call it yet
    PAUSED = "takes no new sessions"  # for the time being; it says why
    LEAVING = "leaving"  # finishes its sessions and takes no new ones
    OTHER_REVISION = "other revision"  # of the model than most peers serve: chains cannot mix them
    UNREACHABLE = "does not answer"  # from here, though the directory lists it

    @property
    def usable(self) -> bool:
        return self in (State.ONLINE, State.MOVING)


@dataclass(frozen=True)
class Answer:
    """What a peer said when it was asked."""

    status: pb.Status
    round_trip_s: float
    at_s: float  # when it came, on any clock that only goes forward


@dataclass(frozen=True)
class PeerView:
    """One peer. None is what is not known: of a peer that loads or does not answer, or that announces no costs."""

    peer_id: str
    address: str  # empty while it loads
    blocks: tuple[int, int]
    revision: str
    dtype: str
    quant: str
    state: State
    uptime_s: float | None
    decode_s: float | None  # of one block for one token, as announced
    capacity_tokens_per_s: float | None  # through all its blocks, in the batches that suit it best, as announced
    links: Mapping[str, Link]  # by peer id, as announced
    paused: str = ""  # why it takes no new sessions, in its own words
    next_hop: str | None = None  # peer id of the nearest peer that can go on after its last block
    software: str | None = None
    round_trip_s: float | None = None  # from here
    sessions: int | None = None
    decoding: int | None = None  # sessions in the middle of generating
    queued_tokens: int | None = None
    free_pages: int | None = None
    total_pages: int | None = None
    tokens_served: int | None = None  # prompts and new tokens together, since it started
    tokens_per_s: float | None = None  # of these, since the look before
    records_rejected: int | None = None  # bad directory records that it saw
    loaded: int | None = None  # of its blocks, while it loads
    decode_price: int = 0  # nano-credits for a token through a block, as announced
    prefill_price: int = 0  # the same for one of a prompt
    staked: int | None = None  # nano-credits on the ledger that it names, if that is known here
    auditors: int = 0  # usable peers that promise the same bits for all of its blocks, and so can recompute its work
    signs: bool = True  # receipts for its work


@dataclass(frozen=True)
class Overview:
    """The swarm of one model. Coverage counts the peers that are usable."""

    time_s: float  # Unix time
    model: str
    revision: str  # of most peers
    num_blocks: int  # 0 if nobody serves the model
    replicas: tuple[int, ...]  # per block: peers
    capacity_tokens_per_s: tuple[float, ...]  # per block: of its peers together, as far as they announce it
    gaps: tuple[tuple[int, int], ...]  # ranges that nobody serves, or is about to
    loading: tuple[tuple[int, int], ...]  # ranges that nobody serves yet, and somebody is loading
    sessions: int  # open now; where ranges overlap, at most
    tokens_per_s: float | None  # since the look before, likewise; None at the first look
    expected_tokens_per_s: float | None  # of a busy swarm, see room.py; None if nobody announces what it takes
    peers: tuple[PeerView, ...]  # by blocks
    directory_answers: bool = True  # else the peers are those that it listed before

    @property
    def format(self) -> tuple[str, str]:
        """Of weights and of activations, in which most of its peers serve; ("none", "float32") if there are none."""
        formats = Counter((peer.quant, peer.dtype) for peer in self.peers)
        return max(formats, key=lambda format: (formats[format], format), default=("none", "float32"))

    @property
    def complete(self) -> bool:
        """Whether every block is served."""
        return self.num_blocks > 0 and not self.gaps and not self.loading


def make_overview(
    model: str,
    infos: Sequence[PeerInfo],
    answers: Mapping[str, Answer],
    before: Mapping[str, Answer],
    now_s: float,
    staked: Mapping[str, int] | None = None,
) -> Overview:
    """The picture at `now_s` (Unix time) of the peers in `infos`.

    answers: by peer id; who is not in it did not answer. before: the answers at the look before. staked: nano-credits,
    by peer id, as far as they are known.
    """
    revision, num_blocks = _majority(infos)
    states = {info.peer_id: _state(info, answers, (revision, num_blocks)) for info in infos}
    usable = [info for info in infos if states[info.peer_id].usable]
    peers = [
        replace(
            _view(info, states[info.peer_id], usable, answers, before, now_s), staked=(staked or {}).get(info.peer_id)
        )
        for info in sorted(infos, key=lambda info: (info.blocks, info.peer_id))
    ]
    answering = [peer for peer in peers if peer.peer_id in answers]
    rates = [(peer.blocks, peer.tokens_per_s) for peer in answering if peer.tokens_per_s is not None]
    expected = room(usable, num_blocks)
    unserved = missing_blocks(usable, num_blocks)
    coming = [info for info in infos if states[info.peer_id] is State.LOADING and _kind(info) == (revision, num_blocks)]
    nobodys = missing_blocks([*usable, *coming], num_blocks)
    return Overview(
        time_s=now_s,
        model=model,
        revision=revision,
        num_blocks=num_blocks,
        replicas=tuple(_per_block(num_blocks, ((info.blocks, 1) for info in usable))),
        capacity_tokens_per_s=tuple(capacities(usable, num_blocks)),
        gaps=tuple(nobodys),
        loading=tuple(part for start, stop in unserved for part in gaps(nobodys, start, stop)),
        sessions=_narrowest(num_blocks, [(peer.blocks, peer.sessions or 0) for peer in answering]) or 0,
        tokens_per_s=_narrowest(num_blocks, rates),
        expected_tokens_per_s=expected if expected or unserved else None,
        peers=tuple(peers),
    )


def _majority(infos: Sequence[PeerInfo]) -> tuple[str, int]:
    """Revision and number of blocks of most peers; of equally many, the first in the alphabet, so that it stays."""
    votes = Counter(map(_kind, infos))
    return min(votes, key=lambda kind: (-votes[kind], kind), default=("", 0))


def _kind(info: PeerInfo) -> tuple[str, int]:
    return info.revision, info.num_blocks


def _state(info: PeerInfo, answers: Mapping[str, Answer], majority: tuple[str, int]) -> State:
    if info.state == pb.JOINING:
        return State.LOADING
    if info.peer_id not in answers:
        return State.UNREACHABLE
    if info.state == pb.LEAVING:
        return State.LEAVING
    if _kind(info) != majority:
        return State.OTHER_REVISION
    if info.paused:
        return State.PAUSED
    return State.MOVING if info.state == pb.MOVING else State.ONLINE


def _per_block(num_blocks: int, parts: Iterable[tuple[tuple[int, int], Figure]]) -> list[Figure]:
    """For each block the sum of the figures in `parts` (blocks, figure) whose blocks contain it."""
    sums: list[Figure] = [0] * num_blocks
    for (start, stop), figure in parts:
        for block in range(start, min(stop, num_blocks)):
            sums[block] += figure
    return sums


def _narrowest(num_blocks: int, parts: Sequence[tuple[tuple[int, int], Figure]]) -> Figure | None:
    """The least of the sums over those blocks that are in any of `parts`; None if there are none."""
    counts = _per_block(num_blocks, ((blocks, 1) for blocks, _ in parts))
    sums = _per_block(num_blocks, parts)
    return min((figure for figure, count in zip(sums, counts, strict=True) if count), default=None)


def _next_hop(info: PeerInfo, usable: Sequence[PeerInfo]) -> str | None:
    links = info.costs.links
    able = [peer.peer_id for peer in usable if peer.start <= info.stop < peer.stop and peer.peer_id in links]
    return min(able, key=lambda peer_id: links[peer_id].round_trip_s, default=None)


def _can_audit(peer: PeerInfo, other: PeerInfo) -> bool:
    return (
        peer.peer_id != other.peer_id
        and peer.numerics_id == other.numerics_id != ""
        and peer.start <= other.start
        and peer.stop >= other.stop
    )


def _view(
    info: PeerInfo,
    state: State,
    usable: Sequence[PeerInfo],
    answers: Mapping[str, Answer],
    before: Mapping[str, Answer],
    now_s: float,
) -> PeerView:
    costs = info.costs
    announced = PeerView(
        peer_id=info.peer_id,
        address=join_address(info.endpoint.host, info.endpoint.port) if info.endpoint.host else "",
        blocks=info.blocks,
        revision=info.revision,
        dtype=info.dtype,
        quant=info.quant,
        state=state,
        uptime_s=max(now_s - costs.started_ms / 1000, 0.0) if costs.started_ms else None,
        decode_s=costs.decode_s[0] if costs.decode_s else None,
        capacity_tokens_per_s=capacity(info),
        links=costs.links,
        paused=info.paused,
        next_hop=_next_hop(info, usable),
        loaded=info.loaded if state is State.LOADING else None,
        decode_price=info.asks.price.decode,
        prefill_price=info.asks.price.prefill,
        auditors=sum(_can_audit(peer, info) for peer in usable),
        signs=not info.unsigned,
    )
    answer = answers.get(info.peer_id)
    return announced if answer is None else _with_answer(announced, answer, before.get(info.peer_id))


def _with_answer(view: PeerView, answer: Answer, before: Answer | None) -> PeerView:
    status, load = answer.status, answer.status.load
    return replace(
        view,
        software=status.record.software,
        round_trip_s=answer.round_trip_s,
        sessions=load.sessions,
        decoding=load.decoding,
        queued_tokens=load.queued_tokens,
        free_pages=load.free_pages,
        total_pages=load.total_pages,
        tokens_served=status.tokens_served,
        tokens_per_s=_rate(answer, before),
        records_rejected=status.records_rejected,
    )


def _rate(answer: Answer, before: Answer | None) -> float | None:
    """Tokens per second between two answers; None if there is but one, or the peer has started anew since."""
    if before is None or answer.at_s <= before.at_s:
        return None
    tokens = answer.status.tokens_served - before.status.tokens_served
    return tokens / (answer.at_s - before.at_s) if tokens >= 0 else None
