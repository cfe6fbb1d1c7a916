"""What a client has seen itself of the peers it used, and how that corrects what they claim.

Pure: times are passed in, as Unix time in seconds, the clock of directory records.

A client measures whole steps around a chain, never one hop alone: what a hop reports of itself may be a lie. Which hop
is to blame for a step that took longer than predicted shows only over several chains. This is network tomography, and
it is solved as Kaczmarz's method solves a linear system (S. Kaczmarz, 1937; the algebraic reconstruction technique of
computed tomography): an observation is an equation, sum of factor * claim over the chain = what was measured, and moves
the factors of its chain a part of the way to where they satisfy it.

Chains that pass the same stages leave a question open: every peer of one stage may be slow, or every claim in another
too modest. Most claims are true, so the answer with the fewest false ones is wanted. The sparse Kaczmarz method finds
it (Lorenz, Wenger, Schoepfer, Magnor: A sparse Kaczmarz solver and a linearized Bregman method for online compressed
sensing, 2014): what is moved is the *evidence* against a claim, and the factor departs from 1 only by what of the
evidence exceeds a threshold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.route.costs import Link
from swarm.route.peer import PeerInfo
from swarm.route.route import Candidate
from swarm.wire import messages_pb2 as pb

FACTORS = (0.25, 100.0)  # the least and the most by which a claim is corrected
HALF_LIFE_S = 300.0  # of evidence: peers change, and deserve another chance
PRIOR_LIFE_S = 600.0  # a peer nobody knows anything of is expected to stay so long
CHUNK_TOKENS = 64  # of a prompt: a step that meets waiting prompts is held up by one chunk of them

_RATE = 0.1  # of a residual, that one step corrects
_THRESHOLD = 0.5  # of evidence, in which no factor departs from 1
_MOST_SHARES = 4.0
_MOST = 3.0  # times the prediction that one step may count for: a step that stalled is no reason for contempt


@dataclass(frozen=True)
class _Evidence:
    """That a peer takes longer than it claims, or less long where negative: a logarithm."""

    log: float = 0.0
    noted_s: float = 0.0

    def at(self, now_s: float) -> float:
        return self.log * math.exp2(-max(now_s - self.noted_s, 0.0) / HALF_LIFE_S)


class Estimates:
    """One client's own experience, by peer id."""

    def __init__(self) -> None:
        self._evidence: dict[str, _Evidence] = {}
        self._first_seen_s: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def observe(self, hops: Sequence[tuple[str, float]], links_s: float, measured_s: float, now_s: float) -> None:
        """One token went once around a chain in `measured_s` seconds.

        hops: peer id and `claimed_step_s` of each, without this client's corrections, which are applied here.
        links_s: predicted for all links together.

        A hop's share of the residual is the mean of its share of the predicted time and of an equal one: by prediction
        alone, a peer would be blamed the less, the less time it claims to need. At most it is a few times the
        predicted share, as the hop may have little to do.
        """
        predicted = [(peer_id, self.factor(peer_id, now_s) * max(claimed_s, 1e-6)) for peer_id, claimed_s in hops]
        total_s = sum(seconds for _, seconds in predicted)
        spent_s = min(max(measured_s - links_s, total_s / _MOST), total_s * _MOST)
        residual_s = _RATE * (spent_s - total_s)
        for peer_id, seconds in predicted:
            predicted_share = seconds / total_s
            share = min((predicted_share + 1 / len(hops)) / 2, _MOST_SHARES * predicted_share)
            self._note(peer_id, math.log(1 + residual_s * share / seconds), now_s)

    def _note(self, peer_id: str, evidence: float, now_s: float) -> None:
        log = self.evidence(peer_id, now_s) + evidence
        least, most = (math.log(factor) for factor in FACTORS)
        self._evidence[peer_id] = _Evidence(min(max(log, least - _THRESHOLD), most + _THRESHOLD), now_s)

    def factor(self, peer_id: str, now_s: float) -> float:
        """How many times longer this peer takes than it claims; 1 for a stranger."""
        log = self.evidence(peer_id, now_s)
        return math.exp(math.copysign(max(abs(log) - _THRESHOLD, 0.0), log))

    def evidence(self, peer_id: str, now_s: float) -> float:
        """Logarithm of how many times longer this peer takes than it claims, by all that was measured."""
        return self._evidence.get(peer_id, _Evidence()).at(now_s)

    def remember(self, peer_id: str, evidence: float, now_s: float) -> None:
        """What was measured of a peer at another time, if nothing has been measured by now."""
        if evidence and peer_id not in self._evidence:
            self._note(peer_id, evidence, now_s)

    def note_failure(self, peer_id: str) -> None:
        """The peer vanished, hung, or broke off in the middle of something."""
        self._failures[peer_id] = self._failures.get(peer_id, 0) + 1

    def hazard_per_s(self, info: PeerInfo, now_s: float) -> float:
        """Rate at which the peer is expected to vanish.

        The mean of a rate that is exponentially distributed beforehand with mean 1 / PRIOR_LIFE_S, after n events in
        t seconds, is (n + 1) / (t + PRIOR_LIFE_S). The part for n = 0 takes the peer's word for its age. The part for
        failures counts only the time since this client first saw the peer, which no claim can stretch.
        """
        started_s = info.costs.started_ms / 1000 or now_s
        watched_s = now_s - self._first_seen_s.get(info.peer_id, now_s)
        failures = self._failures.get(info.peer_id, 0)
        return 1 / (PRIOR_LIFE_S + max(now_s - started_s, 0.0)) + failures / (PRIOR_LIFE_S + max(watched_s, 0.0))

    def candidate(
        self,
        info: PeerInfo,
        now_s: float,
        own_links: Mapping[str, Link],
        load: pb.Load | None = None,
        slowdown: float = 1.0,
    ) -> Candidate:
        """What the search should know of a peer: its claims, corrected.

        own_links: what this client measured itself, by peer id. load: if there is a fresher one than its record's.
        slowdown: factor, from 1 up, by which it is to look slower than it is, for reasons of trust.
        """
        self._first_seen_s.setdefault(info.peer_id, now_s)
        load, factor = load or info.load, slowdown * self.factor(info.peer_id, now_s)
        links = _plausible_links(info.peer_id, info.costs.links, own_links)
        return Candidate(
            peer=info,
            decode_s=factor * info.costs.decode_block_s(_batch(load)),
            prefill_s=factor * info.costs.prefill_block_s(),
            queue_s=factor * _queue_s(info, load),
            client=_slowed(own_links.get(info.peer_id, Link()), slowdown),
            links={other: _slowed(link, slowdown) for other, link in links.items()},
            price=info.asks.price,
            idle_price=info.asks.idle_price,
            hazard_per_s=self.hazard_per_s(info, now_s),
        )


def claimed_step_s(info: PeerInfo, blocks: int, load: pb.Load | None = None) -> float:
    """Seconds that one decode step through `blocks` blocks of this peer takes by its own account, wait included.

    load: what the step meets; by default what the peer's record says.
    """
    load = load or info.load
    return blocks * info.costs.decode_block_s(_batch(load)) + _queue_s(info, load)


def _batch(load: pb.Load) -> int:
    """Sessions that a step is computed together with, itself included."""
    return load.decoding + 1


def _queue_s(info: PeerInfo, load: pb.Load) -> float:
    """Wait for the batch that is being computed: the mean so far, or what waits now, whichever is longer.

    Waiting prompts go through in chunks beside the decoding sessions. A step arrives somewhere within a chunk.
    """
    prompt_tokens = max(load.queued_tokens - load.decoding, 0)
    chunk_s = min(prompt_tokens, CHUNK_TOKENS) * info.costs.prefill_block_s() * (info.stop - info.start)
    return max(info.costs.queue_s, chunk_s / 2)


def _slowed(link: Link, slowdown: float) -> Link:
    return Link(link.round_trip_s * slowdown, link.bytes_per_s / slowdown)


def _plausible_links(peer_id: str, claimed: Mapping[str, Link], own: Mapping[str, Link]) -> dict[str, Link]:
    """`claimed` links, none of them shorter than this client's own two round trips allow.

    By the triangle inequality, two peers of which one is 10 ms away and the other 100 cannot be 1 ms apart.
    """
    if peer_id not in own:
        return dict(claimed)
    here_s = own[peer_id].round_trip_s
    return {
        other: Link(max(link.round_trip_s, abs(here_s - own[other].round_trip_s)), link.bytes_per_s)
        if other in own
        else link
        for other, link in claimed.items()
    }
