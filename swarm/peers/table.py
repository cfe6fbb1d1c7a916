"""What a client knows of the swarm: who serves its model by the directory, and what it has seen of them itself."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

from swarm import clock
from swarm.commands import Invitation, Membership
from swarm.errors import NoRoute, PeerUnreachable
from swarm.model.checkpoint import Checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.peers.absent import NOBODY, Absent, Avoid, concerns, explained
from swarm.peers.directory import RECORD_LIFE_S, Directory
from swarm.peers.estimates import Estimates
from swarm.peers.loads import Loads
from swarm.peers.pings import Pings
from swarm.peers.policy import NotShunned, PeerPolicy, SameModel, TakesSessions, Terms, accepted, hints, who_refuses
from swarm.peers.reputation import Reputation
from swarm.peers.weighing import Weighing
from swarm.peers.weights import KnownWeights
from swarm.route.peer import PeerInfo
from swarm.route.route import Candidate
from swarm.route.search.network import Network
from swarm.wire import messages_pb2 as pb
from swarm.wire.connections import Connections
from swarm.wire.hosts import join_address
from swarm.wire.peer_names import short_id
from swarm.wire.tasks import Shared, TaskSet
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, max_message_bytes

REFRESH_S = 5.0  # how old a picture of the swarm may be
PING_EVERY_S = 15.0
REMEMBER_S, MOST_REMEMBERED = 600.0, 64  # peers that are listed no longer, to tell what became of them

logger = logging.getLogger(__name__)


class Listing:
    """The directory's list of the peers of one model, read anew when it is older than somebody wants it."""

    def __init__(self, directory: Directory, model: str, on_news: Callable[[Sequence[PeerInfo]], Awaitable[None]]):
        """on_news: what is to be done with a new list before anybody uses it."""
        self._directory, self._model, self._on_news = directory, model, on_news
        self._read_s = float("-inf")
        self._read = Shared(self._ask)
        self._gone: dict[str, tuple[PeerInfo, float]] = {}
        self.peers: Sequence[PeerInfo] = ()

    @property
    def gone(self) -> list[PeerInfo]:
        """Peers that were listed within REMEMBER_S, and are no longer."""
        return [peer for peer, _ in self._gone.values()]

    async def refresh(self, max_age_s: float = 0.0) -> None:
        """Ask the directory, unless the list is no older than that. If it does not answer, the list stays as it is."""

        def is_fresh() -> bool:
            return time.monotonic() - self._read_s <= max_age_s

        if not is_fresh():
            await self._read(unless=is_fresh)

    async def _ask(self) -> None:
        try:
            peers = await self._directory.peers(self._model)
        except PeerUnreachable as error:
            logger.debug("%s", error)
            return
        before, self.peers = self.peers, peers
        await self._on_news(self.peers)
        self._read_s = time.monotonic()
        self._remember(before)

    def _remember(self, before: Sequence[PeerInfo]) -> None:
        now_s, listed = self._read_s, {peer.peer_id for peer in self.peers}
        known = self._gone | {peer.peer_id: (peer, now_s) for peer in before}
        gone = {id_: entry for id_, entry in known.items() if id_ not in listed and now_s - entry[1] < REMEMBER_S}
        self._gone = dict(list(gone.items())[-MOST_REMEMBERED:])


class PeerTable:
    """The peers of one model, kept current in the background. Lives in one event loop."""

    def __init__(
        self,
        directory: Directory,
        checkpoint: Checkpoint,
        policies: Sequence[PeerPolicy] = (),
        reputation: Reputation | None = None,
        digests: DigestCache | None = None,
        member: Certificate | None = None,
        own_sessions: Callable[[], Counter[str]] = Counter,
        membership: Membership | None = None,
    ):
        """policies: who may be used, beside those that serve the same model and are not shunned; asked in this order.
        reputation: what is known of peers from before; by default nothing is. digests: of the model's weights, if its
        files are on this machine; without, peers are compared with one another. member: in a private swarm, this
        client's certificate. own_sessions: see Loads. membership: for commands that others are told; by default they
        have the model by its name, and find the swarm. All of them are closed with the table."""
        self.directory, self.model, self.num_blocks = directory, checkpoint.name, checkpoint.config.num_blocks
        self._membership = membership or Membership(checkpoint.name)
        self.reputation = reputation or Reputation()
        max_bytes = max_message_bytes(checkpoint.config.hidden_size)
        self._connections = Connections(lambda endpoint: Peer(endpoint, max_bytes, member))
        self._weighing = Weighing(checkpoint, self._connections, self.reputation)
        same_model = SameModel(checkpoint.revision, self.num_blocks)
        known = same_model, self._weighing.known, NotShunned(self.reputation), TakesSessions()
        self._policies = [*known, *policies]
        self._listing = Listing(directory, checkpoint.name, self._take_over)
        self.estimates, self.loads = Estimates(), Loads(self._connections, own_sessions)
        self._pings = Pings(self._connections.to)
        self._failed: dict[str, tuple[float, str]] = {}  # by peer id: when it may be chosen again, and what it did
        self.look_again = Shared(self._look_again)  # somebody may have joined just now, or recovered
        self._tasks = TaskSet(f"peers of {checkpoint.name}")
        self._tasks.start(self._keep_current(), "refreshing")
        weighing = self._weighing.hash_files(digests) if digests else self._compare_weights(same_model)
        self._tasks.start(weighing, "weighing")

    async def close(self) -> None:
        self._tasks.cancel()
        for policy in self._policies:
            policy.close()
        await self._connections.close()
        await self.directory.leave()
        await asyncio.to_thread(self.reputation.close)

    # --- keeping it current ------------------------------------------------------------------------------------------

    async def refresh(self, max_age_s: float = 0.0) -> None:
        """Ask the directory, unless the picture is no older than that."""
        await self._listing.refresh(max_age_s)

    async def _take_over(self, peers: Sequence[PeerInfo]) -> None:
        for policy in self._policies:
            await policy.look(peers)
        self._connections.keep_only({peer.peer_id for peer in peers})
        for peer in peers:
            self.estimates.remember(peer.peer_id, self.reputation.lag(peer.peer_id), clock.now_s())

    async def _keep_current(self) -> None:
        pinged_s = float("-inf")
        while True:
            await self.refresh(REFRESH_S / 2)
            measured, now_s = self._pings.links(), time.monotonic()
            if pinged_s + PING_EVERY_S < now_s or any(peer.peer_id not in measured for peer in self._listing.peers):
                pinged_s = now_s
                await self._pings.round(self._alive())
            await asyncio.sleep(REFRESH_S)

    async def _compare_weights(self, same_model: SameModel) -> None:
        while True:
            await self.refresh(REFRESH_S)
            await self._weighing.ask([peer for peer in self._alive() if same_model.accept(peer)])
            await asyncio.sleep(REFRESH_S)

    # --- what sessions say of peers ----------------------------------------------------------------------------------

    def report_failure(self, peer_id: str, why: str = "") -> None:
        """Do not choose this peer again until its present directory record has expired: if it is still listed by
        then, it has refreshed the record since and lives. why: what it did, in words."""
        logger.info("peer %s failed: %s", peer_id, why or "it does not answer")
        if not self.is_failed(peer_id):  # else it was the same failure, that others have met
            self.reputation.crashed(peer_id)
        self._failed[peer_id] = time.monotonic() + RECORD_LIFE_S, why
        self.estimates.note_failure(peer_id)
        self._connections.drop(peer_id)

    def report_other_weights(self, peer: PeerInfo) -> None:
        """It announced the right weights, and refuses a session that expects them."""
        self._weighing.discredit(peer)

    def is_failed(self, peer_id: str) -> bool:
        return self._failed.get(peer_id, (0.0, ""))[0] > time.monotonic()

    async def _look_again(self) -> None:
        """Nothing is left to choose from: a failed peer that answers again may be chosen again."""
        await self.refresh()
        for peer_id in await self.loads.ask([peer for peer in self._listing.peers if self.is_failed(peer.peer_id)]):
            self._failed.pop(peer_id, None)

    # --- what there is to choose from --------------------------------------------------------------------------------

    @property
    def weights(self) -> KnownWeights:
        """Of the model, as far as they are known."""
        return self._weighing.known

    async def weigh(self) -> None:
        """Wait until it is known which weights are right, but not for long, and only once: it goes on meanwhile."""
        await self._weighing.wait()

    def listed(self) -> list[PeerInfo]:
        """All peers in the directory, whether they can be used or not."""
        return list(self._listing.peers)

    def usable(self, avoid: Collection[str] = ()) -> list[PeerInfo]:
        """The peers that a chain may be made of now; none, where all that would do failed lately or are to be avoided.

        Raises RevisionMismatch if only other revisions or weights are served, NoRoute if nobody is good enough for this
        client.
        """
        will_do = accepted(self._policies, self.model, self._listing.peers)
        return [peer for peer in will_do if not (peer.peer_id in avoid or self.is_failed(peer.peer_id))]

    def explained(self, error: NoRoute, avoid: Avoid = NOBODY, terms: Terms | None = None) -> NoRoute:
        """`error`, with what is known of peers that are there and of no use, and of those that were there; with the
        command that would help, on these terms; and of those that would do if the user wanted."""
        about = [peer for peer in self._listing.peers if concerns(error, peer)]
        invitation = self._invitation(terms or Terms())
        return explained(error, self._absent(avoid), clock.now_s(), invitation, hints(self._policies, about))

    def _invitation(self, terms: Terms) -> Invitation:
        """How a peer joins that this client would use: in the format that it demands, or else in that of most."""
        formats = Counter((peer.quant, peer.dtype) for peer in self._listing.peers)
        quant, dtype = max(formats, key=lambda format: formats[format], default=("none", None))
        if terms.quant or terms.dtype:
            quant, dtype = terms.quant or "none", terms.dtype
        hosts = [peer.endpoint.host for peer in self._listing.peers]
        return self._membership.invitation(hosts, quant, dtype)

    def _absent(self, avoid: Avoid) -> Iterator[Absent]:
        for peer in self._listing.peers:
            if policy := who_refuses(self._policies, peer):
                yield Absent(peer, policy.why(peer), is_waived_at_will=policy.is_waived_at_will)
            elif self.is_failed(peer.peer_id):
                endpoint, said = peer.endpoint, self._failed[peer.peer_id][1] or "does not answer"
                own = f"peer {short_id(peer.peer_id)} at {join_address(endpoint.host, endpoint.port)} "
                yield Absent(peer, said.removeprefix(own), is_silent=True)
            elif peer.peer_id in avoid:
                yield Absent(peer, avoid[peer.peer_id])
        yield from map(Absent, self._listing.gone)

    def _alive(self) -> list[PeerInfo]:
        return [peer for peer in self._listing.peers if not self.is_failed(peer.peer_id)]

    def network(self, peers: Iterable[PeerInfo]) -> Network:
        """`peers` with all that is known of their speed, load and links."""
        peers, links, now_s = list(peers), self._pings.links(), clock.now_s()
        candidates = [
            self.estimates.candidate(peer, now_s, links, load, self.reputation.slowdown(peer.peer_id))
            for peer, load in zip(peers, self.loads.of(peers), strict=True)
        ]
        return Network(candidates, self.num_blocks)

    def candidate(self, peer: PeerInfo, slowed: bool = True) -> Candidate:
        """The same of one peer. slowed: as the search for a chain sees it, by its standing; else as it is."""
        slowdown = self.reputation.slowdown(peer.peer_id) if slowed else 1.0
        return self.estimates.candidate(peer, clock.now_s(), self._pings.links(), self.load(peer), slowdown)

    def load(self, peer: PeerInfo) -> pb.Load:
        """How busy it is, see Loads.of."""
        return self.loads.of([peer])[0]

    def connection_to(self, peer: PeerInfo) -> Peer:
        """The connection to a peer, shared by all who ask for it."""
        return self._connections.to(peer.endpoint)
