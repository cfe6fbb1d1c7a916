"""Which chain a session takes, and who replaces its hops."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakSet

from swarm import clock
from swarm.errors import NoRoute, PeerUnreachable, RevisionMismatch
from swarm.peers.absent import NOBODY, Avoid
from swarm.peers.estimates import claimed_step_s
from swarm.peers.policy import Terms
from swarm.peers.table import REFRESH_S, PeerTable
from swarm.results import Hop as GenerationHop
from swarm.route.peer import PeerInfo
from swarm.route.route import Chain, Hop, Request, chain_of, cost_chain, link_between, missing_blocks
from swarm.route.search.chains import best_chain, best_chains
from swarm.session.coverage import Waits
from swarm.session.hop import HopFailed
from swarm.session.wanted import Wanted
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.transport import Peer

if TYPE_CHECKING:
    from swarm.session.session import Session

CHOICES = 4  # good chains, of which the best and another are compared by fresh load
REPLACED_TOKENS = 64  # that a replacement is expected to compute; how long the generation will last is not known


class OpenSessions:
    """Those of one client."""

    def __init__(self) -> None:
        self._sessions: WeakSet[Session] = WeakSet()

    def add(self, session: "Session") -> None:
        self._sessions.add(session)

    def by_peer(self) -> Counter[str]:
        """How many of them each peer (id) serves: load that the directory does not know of yet."""
        return Counter(hop.peer.peer_id for session in self._sessions if session.is_open for hop in session.hops)


class Router:
    """Chooses from what its table of peers knows. Lives in one event loop."""

    def __init__(
        self,
        table: PeerTable,
        terms: Terms,
        token_bytes: int,
        blocks: tuple[int, int] | None = None,
        sessions: "OpenSessions | None" = None,
        waits: Waits | None = None,
    ):
        """token_bytes: one token's activations on the wire. blocks: that a chain covers; None: the whole model.
        sessions: this client's, which `table` takes into account. waits: what they wait for."""
        self._start, self._stop = blocks or (0, table.num_blocks)
        self.table, self._terms, self._token_bytes = table, terms, token_bytes
        self.sessions, self.waits = sessions or OpenSessions(), waits or Waits()
        self._rng = random.Random()

    async def chain(self, wanted: Wanted, avoid: Avoid = NOBODY, through: Sequence[GenerationHop] = ()) -> list[Hop]:
        """The chain for a new session, without the peers in `avoid` and those that failed lately; `through`, if given.

        Of a few good chains, the best and one at random are compared by the load that their peers report now, and the
        better one is taken (power of two choices: Mitzenmacher, 2001): by the directory's old figures alone, all
        clients would run to the same peers. Raises NoRoute naming the blocks that nobody covers, RevisionMismatch if
        only other revisions are served.
        """
        request = self._request(wanted, self._start, self._stop)
        await self.table.refresh(2 * REFRESH_S)
        await self.table.weigh()
        if through:
            ranges = [(hop.peer_id, hop.blocks) for hop in through]
            return chain_of(ranges, self.table.usable(avoid), self._start, self._stop)
        try:
            chains = self._search(request, avoid)
        except (NoRoute, RevisionMismatch):
            await self.table.look_again()
            chains = self._search(request, avoid)
        if len(chains) > 1:
            two = [chains[0], self._rng.choice(chains[1:])]
            return list((await self._freshest(two, request)).hops)
        return list(chains[0].hops)

    async def usable(self) -> list[PeerInfo]:
        """The peers that a chain may be made of now. Raises as `PeerTable.usable`."""
        await self.table.refresh(REFRESH_S)
        await self.table.weigh()
        return self.table.usable()

    async def replacement(
        self,
        lost: Sequence[Hop],
        before: PeerInfo | None,
        after: PeerInfo | None,
        replay_tokens: int,
        avoid: Avoid,
        background: bool = False,
    ) -> list[Hop]:
        """See swarm.session.recovery.Spares."""
        request = replace(
            self._request(Wanted(replay_tokens, REPLACED_TOKENS, background), lost[0].start, lost[-1].stop),
            before=self.table.candidate(before) if before else None,
            after=self.table.candidate(after) if after else None,
        )  # fmt: skip
        try:
            return self._find_alike(request, lost[0].peer, avoid)
        except (NoRoute, RevisionMismatch):
            await self.table.look_again()
            return self._find_alike(request, lost[0].peer, avoid)

    def connection_to(self, peer: PeerInfo) -> Peer:
        """The connection to a peer, shared by all sessions."""
        return self.table.connection_to(peer)

    def replaceable(self, lost: Sequence[Hop]) -> list[Hop]:
        """See swarm.session.recovery.Spares."""
        try:
            peers = self.table.usable({hop.peer.peer_id for hop in lost})
        except (NoRoute, RevisionMismatch):
            return []
        gaps = missing_blocks(peers, self.table.num_blocks)
        return [hop for hop in lost if not any(max(hop.start, start) < min(hop.stop, stop) for start, stop in gaps)]

    def report_failure(self, peer_id: str, why: str) -> None:
        """See swarm.session.recovery.Spares."""
        self.table.report_failure(peer_id, why)

    def note_refusal(self, failure: HopFailed, hops: Sequence[Hop]) -> None:
        """See swarm.session.recovery.Spares. Of a peer that refuses the weights that it announces, it is remembered;
        one without room has said how busy it is."""
        for peer in (hop.peer for hop in hops if hop.peer.peer_id in failure.peer_ids):
            if isinstance(failure.cause, PeerUnreachable):
                self.table.report_failure(peer.peer_id, str(failure.cause))
            elif isinstance(failure.cause, RevisionMismatch):
                self.table.report_other_weights(peer)
            elif failure.load:
                self.table.loads.note(peer.peer_id, failure.load)

    async def close(self) -> None:
        await self.table.close()

    def _request(self, wanted: Wanted, start: int, stop: int) -> Request:
        limit = self._terms.max_price
        if limit is not None:
            least = max(limit - wanted.priority_fee * self.table.num_blocks, 0)
            limit = least * (wanted.prompt_tokens + wanted.new_tokens)
        return Request(
            wanted.prompt_tokens, wanted.new_tokens, self._token_bytes, self._terms.seconds_per_credit / CREDIT, limit,
            background=wanted.background, start=start, stop=stop,
        )  # fmt: skip

    def _search(self, request: Request, avoid: Avoid) -> list[Chain]:
        network = self.table.network(self.table.usable(avoid))
        try:
            return best_chains(network, self.table.num_blocks, request, CHOICES)
        except NoRoute as error:
            raise self.table.explained(error, avoid, self._terms) from error

    async def _freshest(self, chains: Sequence[Chain], request: Request) -> Chain:
        """The best of `chains` by the load that their peers report now; those with a peer that says nothing last."""
        peers = {hop.peer.peer_id: hop.peer for chain in chains for hop in chain.hops}
        answered = await self.table.loads.ask(peers.values())
        fresh = {peer_id: self.table.candidate(peer) for peer_id, peer in peers.items()}

        def cost(chain: Chain) -> tuple[int, float]:
            quiet = sum(hop.peer.peer_id not in answered for hop in chain.hops)
            return quiet, cost_chain(chain.hops, fresh, request).seconds

        return min(chains, key=cost)

    def _find_alike(self, request: Request, lost: PeerInfo, avoid: Avoid) -> list[Hop]:
        """The best replacement among peers that compute as the lost one did, so that tokens stay what they would have
        been; if there is none, among all."""
        usable = self.table.usable(avoid)
        alike = [
            [peer for peer in usable if peer.format == lost.format and peer.numerics_id == lost.numerics_id],
            [peer for peer in usable if peer.format == lost.format],
        ]
        for peers in alike:
            try:
                return list(best_chain(self.table.network(peers), self.table.num_blocks, request).hops)
            except NoRoute:
                continue
        try:
            return list(best_chain(self.table.network(usable), self.table.num_blocks, request).hops)
        except NoRoute as error:
            raise self.table.explained(error, avoid, self._terms) from error

    def observe_steps(self, hops: Sequence[Hop], step_s: float) -> None:
        """See swarm.session.recovery.Spares."""
        now_s = clock.now_s()
        peers = [self.table.candidate(hop.peer, slowed=False) for hop in hops]
        links = [peers[0].client, *map(link_between, peers, peers[1:]), peers[-1].client]
        claims = [
            (hop.peer.peer_id, claimed_step_s(hop.peer, hop.stop - hop.start, self.table.load(hop.peer)))
            for hop in hops
        ]
        links_s = sum(link.one_way_s(self._token_bytes) for link in links)
        self.table.estimates.observe(claims, links_s, step_s, now_s)
        for peer_id, _ in claims:
            self.table.reputation.observe_speed(peer_id, self.table.estimates.evidence(peer_id, now_s))
