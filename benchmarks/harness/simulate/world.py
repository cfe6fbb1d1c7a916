"""A swarm of peers that compute, queue, announce, join and die, simulated: what requests take under a routing policy.

Pure and deterministic: discrete events in simulated seconds, one seed, no clock. What is simulated, and how coarsely:

- A session's time per token is the sum of its hops' waits and computing, and of its links. It is worked out anew every
  CHUNK_TOKENS tokens from the steps and blocks per second that all others then ask of the same peers
  (peers.SimulatedPeer); its own rate is what the others see of it. Tokens are no events of their own.
- Prompts go from hop to hop, in chunks between decode steps: while one is computed, both take longer.
- A peer that joins takes the blocks that swarm.route.placement gives a newcomer.
- Peers announce their load every few seconds, and clients read that later still (clients.Knowledge). Links are measured
  with an error that stays. A dead peer's record lives on until it expires.
- A peer with no room refuses, and the client tries others. When a peer dies, its sessions stop, notice, ask the policy
  for a replacement, and replay all tokens so far through it.

Policies are in simulate.policies, worlds to compare them in, in simulate.scenarios.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.simulate.clients import ANNOUNCE_S, RECORD_LIFE_S, REFRESH_S, Knowledge, Policy, View
from harness.simulate.peers import Arrival, Part, Place, Session, SimulatedPeer, link
from swarm.errors import NoRoute
from swarm.route.costs import Link
from swarm.route.route import Candidate, Request

CHUNK_TOKENS = 8
NOTICE_S = 1.0  # until a client is sure that a peer is dead
RETRY_S = 1.0  # until one that found no way tries again
MAX_TRIES = 10

Joins = Callable[[Sequence[SimulatedPeer], int, random.Random], SimulatedPeer]


@dataclass(frozen=True)
class World:
    """What a policy is tried on."""

    num_blocks: int
    token_bytes: int
    sites: Sequence[Place]  # of clients
    arrivals: Sequence[Arrival]
    newcomer: Joins  # makes a peer, given those alive and a number never used before
    peers: int  # at any time
    life_s: float = 0.0  # mean time until a peer dies; 0: none does
    noise: float = 0.1  # of measured links, see clients.Knowledge
    seed: int = 0


class Simulation:
    """One policy in one world."""

    def __init__(self, world: World, policy: Policy):
        self.sessions = [Session(number, arrival) for number, arrival in enumerate(world.arrivals)]
        self.peers: dict[str, SimulatedPeer] = {}  # alive
        self.now_s = 0.0
        self._everyone: dict[str, SimulatedPeer] = {}  # the dead too
        self._asked_s = 0.0  # how long the policy has waited for answers
        self._world, self._policy = world, policy
        self._lives, self._choices = random.Random(f"lives {world.seed}"), random.Random(f"choices {world.seed}")
        self._knowledge = Knowledge(world.sites, world.num_blocks, world.noise, random.Random(f"noise {world.seed}"))
        self._open = len(self.sessions)
        self._numbers, self._ties = itertools.count(), itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self) -> list[Session]:
        """All sessions, each of them ended."""
        for _ in range(self._world.peers):
            self._join()
        for session in self.sessions:
            self._after(session.arrival.at_s, lambda session=session: self._find(session))
        while self._open:
            self.now_s, _, event = heapq.heappop(self._events)
            event()
        return self.sessions

    def _after(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._ties), event))

    def _in_turn(self, session: Session, delay_s: float, event: Callable[[Session], None]) -> None:
        """Unless something else happens to the session before."""
        session.turn += 1
        turn = session.turn
        self._after(delay_s, lambda: event(session) if session.turn == turn else None)

    # --- peers ---

    def _join(self) -> None:
        peer = self._world.newcomer(list(self.peers.values()), next(self._numbers), self._lives)
        peer.born_s = self.now_s
        self.peers[peer.peer_id] = self._everyone[peer.peer_id] = peer
        self._knowledge.announce(peer, self.now_s)
        self._after(self._lives.uniform(0, ANNOUNCE_S), lambda: self._announce(peer))
        if self._world.life_s:
            self._after(self._lives.expovariate(1 / self._world.life_s), lambda: self._die(peer))

    def _announce(self, peer: SimulatedPeer) -> None:
        if peer.alive:
            self._knowledge.announce(peer, self.now_s)
            self._after(ANNOUNCE_S, lambda: self._announce(peer))

    def _die(self, peer: SimulatedPeer) -> None:
        peer.alive = False
        del self.peers[peer.peer_id]
        for session in list(peer.sessions.values()):
            self._lose(session, peer)
        self._join()

    # --- a session ---

    def _find(self, session: Session) -> None:
        """Have the policy choose peers for the blocks that have none, then send them the tokens so far."""
        gap = session.gap(self._world.num_blocks)
        if gap is None:
            self._prefill(session)
            return
        site, self._asked_s = session.arrival.site, 0.0
        network = self._knowledge.network(site, self.now_s)
        view = View(network, self._choices, lambda ids: self._fresh(site, ids))
        try:
            hops = self._policy(view, self._request(session, *gap))
        except NoRoute:
            self._try_again(session, RETRY_S)
            return
        parts = [Part(self._everyone[hop.peer.peer_id], hop.start, hop.stop) for hop in hops]
        answer_s = self._asked_s + max(self._round_trip_s(site, part.peer) for part in parts)
        if refusing := [part.peer for part in parts if part.peer.refuses()]:
            self._avoid(site, refusing)
            self._try_again(session, answer_s if all(peer.alive for peer in refusing) else NOTICE_S)
            return
        self._admit(session, parts)
        self._in_turn(session, answer_s, self._find)

    def _request(self, session: Session, start: int, stop: int) -> Request:
        before = [part.peer for part in session.parts if part.stop <= start]
        after = [part.peer for part in session.parts if part.start >= stop]
        return Request(
            prompt_tokens=session.tokens,
            new_tokens=session.arrival.new_tokens - session.made,
            token_bytes=self._world.token_bytes,
            recovery_s=NOTICE_S + RETRY_S,
            start=start,
            stop=stop,
            before=self._candidate(session.arrival.site, before[-1]) if before else None,
            after=self._candidate(session.arrival.site, after[0]) if after else None,
        )

    def _candidate(self, site: int, peer: SimulatedPeer) -> Candidate:
        return self._knowledge.candidate(site, peer, self.now_s)

    def _fresh(self, site: int, peer_ids: Iterable[str]) -> dict[str, Candidate]:
        alive = [self.peers[peer_id] for peer_id in peer_ids if peer_id in self.peers]
        self._asked_s = max([self._asked_s, *(self._round_trip_s(site, peer) for peer in alive)])
        return {peer.peer_id: self._candidate(site, peer) for peer in alive}

    def _round_trip_s(self, site: int, peer: SimulatedPeer) -> float:
        return link(self._world.sites[site], peer.place).round_trip_s

    def _avoid(self, site: int, peers: list[SimulatedPeer]) -> None:
        for peer in peers:
            self._knowledge.avoid(site, peer.peer_id, self.now_s + (REFRESH_S if peer.alive else RECORD_LIFE_S))

    def _try_again(self, session: Session, delay_s: float) -> None:
        session.tries += 1
        if session.tries < MAX_TRIES:
            self._in_turn(session, delay_s, self._find)
        else:
            session.failed = True
            self._end(session)

    def _admit(self, session: Session, parts: list[Part]) -> None:
        session.tries = 0
        session.parts = sorted([*session.parts, *parts], key=lambda part: part.start)
        for part in parts:
            part.peer.sessions[session.number] = session

    def _prefill(self, session: Session) -> None:
        """Send all tokens so far through the parts that do not have them."""
        new = [part for part in session.parts if not part.ready]
        prompt_bytes = session.tokens * self._world.token_bytes
        legs_s = sum(
            leg.one_way_s(prompt_bytes)
            for leg, part in zip(self._legs(session), session.parts, strict=False)
            if not part.ready
        )
        compute_s = [part.peer.prefill_s(part.blocks, session.tokens) for part in new]
        total_s = legs_s + sum(compute_s)
        for part, seconds in zip(new, compute_s, strict=True):
            part.load(prefilling=seconds / total_s)
        session.replayed += session.tokens if session.losses else 0
        self._in_turn(session, total_s, self._decode)

    def _legs(self, session: Session) -> list[Link]:
        """Into each part, and back to the client."""
        client = self._world.sites[session.arrival.site]
        places = [client, *(part.peer.place for part in session.parts), client]
        return [link(left, right) for left, right in itertools.pairwise(places)]

    def _decode(self, session: Session) -> None:
        for part in session.parts:
            part.ready = True
            part.load()
        if math.isnan(session.decoding_since_s):
            session.decoding_since_s = self.now_s
        session.links_s = sum(leg.one_way_s(self._world.token_bytes) for leg in self._legs(session))
        self._next_chunk(session)

    def _next_chunk(self, session: Session) -> None:
        session.made += session.chunk[2]
        tokens = min(CHUNK_TOKENS, session.arrival.new_tokens - session.made)
        if not tokens:
            self._end(session)
            return
        token_s = session.links_s + sum(sum(part.peer.step_s(part.blocks, part.rate)) for part in session.parts)
        for part in session.parts:
            part.load(1 / token_s)
        session.chunk = self.now_s, token_s, tokens
        self._in_turn(session, tokens * token_s, self._next_chunk)

    def _lose(self, session: Session, peer: SimulatedPeer) -> None:
        """Stop, with the tokens made so far, and look for other peers when the client has noticed."""
        since_s, token_s, tokens = session.chunk
        session.made += min(int((self.now_s - since_s) / token_s), tokens)
        self._rest(session)
        session.parts = [part for part in session.parts if part.peer is not peer]
        session.losses += 1
        self._in_turn(session, NOTICE_S, self._find)

    def _rest(self, session: Session) -> None:
        session.chunk = 0.0, 1.0, 0
        for part in session.parts:
            part.load()

    def _end(self, session: Session) -> None:
        self._rest(session)
        for part in session.parts:
            part.peer.sessions.pop(session.number, None)
        session.ended_s = self.now_s
        self._open -= 1
