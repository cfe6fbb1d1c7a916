"""What a client knows of the swarm: who serves its model by the directory, and what it has seen of them itself."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from swarm.errors import InvalidRequest, ModelError, NoRoute, PeerUnreachable, RevisionMismatch
from swarm.market.stakes import Stakes
from swarm.model.checkpoint import Checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.peers.convictions import Conviction
from swarm.peers.directory import RECORD_LIFE_S, Directory
from swarm.peers.estimates import Estimates
from swarm.peers.pings import Pings
from swarm.peers.terms import Terms
from swarm.peers.weights import KnownWeights
from swarm.route.peer import PeerInfo
from swarm.route.route import Candidate
from swarm.route.search.network import Network
from swarm.verify.attestation import Verifier
from swarm.verify.attested import Verdicts
from swarm.verify.fraud.inbox import FraudInbox
from swarm.verify.reputation.standing import Event
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import messages_pb2 as pb
from swarm.wire.connections import Connections
from swarm.wire.identity import Identity
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, max_message_bytes

REFRESH_S = 5.0  # how old a picture of the swarm may be
PING_EVERY_S = 15.0
ACCUSATIONS_EVERY_S = 15.0
STATUS_TIMEOUT_S = 1.0
WEIGHTS_PATIENCE_S = 2.0  # that the first session waits until it is known which weights are right
ASKED_AT_ONCE = 16

logger = logging.getLogger(__name__)


class PeerTable:
    """The peers of one model, kept current in the background. Lives in one event loop."""

    def __init__(
        self,
        directory: Directory,
        checkpoint: Checkpoint,
        terms: Terms,
        book: ReputationStore | None = None,
        digests: DigestCache | None = None,
        member: Certificate | None = None,
        verifier: Verifier | None = None,
        stakes: Stakes | None = None,
        own_sessions: Callable[[], Counter[str]] = Counter,
    ):
        """book: what is known of peers from before, closed with the view; by default nothing is. digests: of the
        model's weights, if its files are on this machine; without, peers are compared with one another. member: in a
        private swarm, this client's certificate. verifier: of the peers' attestation. stakes: by default, nobody needs
        any. own_sessions: how many this client has open, by peer id: news to the directory."""
        self._verdicts, self.stakes = Verdicts(verifier), stakes or Stakes()
        self._directory, self._terms = directory, terms
        self._model, self._revision = checkpoint.name, checkpoint.revision
        self.num_blocks = checkpoint.config.num_blocks
        max_bytes = max_message_bytes(checkpoint.config.hidden_size)
        self.connections = Connections(lambda endpoint: Peer(endpoint, max_bytes, member))
        self.estimates = Estimates()
        self.book = book or ReputationStore()
        self.inbox = FraudInbox(self.book)
        self.weights = KnownWeights(checkpoint.name)
        self._weighed = asyncio.Event()  # once what can be known of the weights is known
        self._own_sessions = own_sessions
        self._pings = Pings(self.connections.to)
        self._peers: list[PeerInfo] = []
        self._loads: dict[str, tuple[float, pb.Load]] = {}  # fresher than the record's, with when it was heard
        self._failed: dict[str, float] = {}  # peer id -> when it may be chosen again
        self._refreshed = self._pinged = self._heard = float("-inf")
        self._refreshing = asyncio.Lock()
        learning = self._hash_files(checkpoint, digests) if digests else self._compare_weights()
        self._tasks = [asyncio.create_task(work) for work in (self._keep_current(), self.inbox.work(), learning)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.stakes.close()
        await self.connections.close()
        await self._directory.leave()
        await asyncio.to_thread(self.book.close)

    # --- keeping it current ------------------------------------------------------------------------------------------

    async def refresh(self, max_age_s: float = 0.0) -> None:
        """Ask the directory, unless the picture is no older than that."""
        async with self._refreshing:
            if time.monotonic() - self._refreshed > max_age_s:
                self._peers = await self._directory.peers(self._model)
                await self._verdicts.judge(self._peers)
                await self.stakes.look(self._peers)
                self._refreshed = time.monotonic()
                self.connections.keep_only({peer.peer_id for peer in self._peers})
                self.weights.keep_only(self._peers)
                for peer in self._peers:
                    self.estimates.remember(peer.peer_id, self.book.standing(peer.peer_id).lag, time.time())

    async def announce(self, conviction: Conviction, identity: Identity) -> None:
        """Tell everybody of a conviction."""
        if not await self._directory.accuse(conviction, identity):
            logger.warning("the conviction of peer %s could not be announced", conviction.accused)

    async def _keep_current(self) -> None:
        while True:
            await self.refresh(REFRESH_S / 2)
            if self._heard + ACCUSATIONS_EVERY_S < time.monotonic():
                self._heard = time.monotonic()
                accusations = await self._directory.accusations(self._model)
                self.inbox.consider(accusations, {peer.peer_id for peer in self._peers})
            measured = self._pings.links()
            if self._pinged + PING_EVERY_S < time.monotonic() or any(p.peer_id not in measured for p in self._peers):
                self._pinged = time.monotonic()
                await self._pings.round([peer for peer in self._peers if not self.is_failed(peer.peer_id)])
            await asyncio.sleep(REFRESH_S)

    def report_failure(self, peer_id: str) -> None:
        """Do not choose this peer again until its present directory record has expired: if it is still listed by
        then, it has refreshed the record since and lives."""
        logger.info("peer %s failed", peer_id)
        if not self.is_failed(peer_id):  # else it was the same failure, that others have met
            self.book.observe(peer_id, Event.CRASH)
        self._failed[peer_id] = time.monotonic() + RECORD_LIFE_S
        self.estimates.note_failure(peer_id)
        self.connections.drop(peer_id)

    def is_failed(self, peer_id: str) -> bool:
        return self._failed.get(peer_id, 0.0) > time.monotonic()

    async def pardon(self) -> None:
        """Nothing is left to choose from: a failed peer that answers again may be chosen again."""
        failed = [peer for peer in self._peers if self.is_failed(peer.peer_id)]
        loads = await self.ask_loads(failed)
        for peer_id in loads:
            self._failed.pop(peer_id, None)

    async def ask_loads(self, peers: Iterable[PeerInfo]) -> dict[str, pb.Load]:
        """Fresh loads, by peer id, of those that answer."""
        peers = list(peers)

        async def ask(info: PeerInfo) -> pb.Load | None:
            try:
                return (await self.connections.to(info.endpoint).status(STATUS_TIMEOUT_S)).load
            except PeerUnreachable:
                return None

        loads = await asyncio.gather(*(ask(peer) for peer in peers))
        found = {peer.peer_id: load for peer, load in zip(peers, loads, strict=True) if load is not None}
        for peer_id, load in found.items():
            self.note_load(peer_id, load)
        return found

    def note_load(self, peer_id: str, load: pb.Load) -> None:
        """A peer has just said how busy it is."""
        self._loads[peer_id] = time.monotonic(), load

    # --- which weights are right -------------------------------------------------------------------------------------

    async def weigh(self) -> None:
        """Wait until it is known which weights are right, but not for long, and only once: it goes on meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WEIGHTS_PATIENCE_S):
                await self._weighed.wait()
        self._weighed.set()

    def report_other_weights(self, peer: PeerInfo) -> None:
        """It announced the right weights, and refuses a session that expects them."""
        logger.info("peer %s does not serve the weights that it announces", peer.peer_id)
        self.weights.discredit(peer)
        self.book.observe(peer.peer_id, Event.FAULT)

    async def _hash_files(self, checkpoint: Checkpoint, digests: DigestCache) -> None:
        """Block by block in a thread, which may take minutes for a large model when it is first used."""
        try:
            for block in range(self.num_blocks):
                self.weights.learn(block, await asyncio.to_thread(digests.digest, checkpoint, block))
        except ModelError as error:
            logger.warning("the model's files cannot be compared with what peers serve: %s", error)
        self._weighed.set()

    async def _compare_weights(self) -> None:
        """Ask every peer once for the digests of its blocks."""
        while True:
            await self.refresh(REFRESH_S)
            unheard = self.weights.unheard([peer for peer in self._same_revision() if not self.is_failed(peer.peer_id)])
            for start in range(0, len(unheard), ASKED_AT_ONCE):
                await asyncio.gather(*map(self._hear_weights, unheard[start : start + ASKED_AT_ONCE]))
            self._weighed.set()
            await asyncio.sleep(REFRESH_S)

    async def _hear_weights(self, peer: PeerInfo) -> None:
        with suppress(PeerUnreachable):
            status = await self.connections.to(peer.endpoint).status(STATUS_TIMEOUT_S)
            try:
                self.weights.hear(peer, status.block_digests)
            except InvalidRequest as error:
                logger.warning("%s; it is not used", error)
                self.book.observe(peer.peer_id, Event.FAULT)

    # --- what there is to choose from --------------------------------------------------------------------------------

    def listed(self) -> list[PeerInfo]:
        """All peers in the directory, whether they can be used or not."""
        return list(self._peers)

    def usable(self, avoid: Collection[str] = ()) -> list[PeerInfo]:
        """The peers that a chain may be made of now.

        Raises RevisionMismatch if only other revisions are served, NoRoute if nobody meets this client's terms.
        """
        alive = [peer for peer in self._peers if peer.peer_id not in avoid and not self.is_failed(peer.peer_id)]
        same = self._same_revision(alive)
        if alive and not same:
            others = ", ".join(sorted({peer.revision for peer in alive}))
            raise RevisionMismatch(
                f"the swarm serves {self._model!r} in revision {others}, this client has {self._revision}; "
                "use the same files on both sides"
            )
        trusted = self._trusted(same)
        wanted = [peer for peer in trusted if self._terms.allow(peer) and self._verdicts.accept(peer)]
        if trusted and not wanted:
            there = ", ".join(sorted({f"quant {peer.quant} with dtype {peer.dtype}" for peer in trusted}))
            raise NoRoute(
                f"no peer serves {self._model!r} {self._terms}{self._verdicts}, as this client demands; "
                f"there is {there}{self._unpayable(trusted)}"
            )
        staked = [peer for peer in wanted if self.stakes.suffice(peer)]
        if wanted and not staked:
            raise NoRoute(f"no peer of {self._model!r} can be trusted with money{self.stakes.explain(wanted)}")
        return staked

    def unstaked(self) -> str:
        """What to say of the peers that would do, had they more at stake."""
        others = [peer for peer in self._same_revision() if not self.book.is_shunned(peer.peer_id)]
        return self.stakes.explain([peer for peer in others if self._terms.allow(peer)])

    def _unpayable(self, peers: Sequence[PeerInfo]) -> str:
        """What to say of those that want to be paid where this client has no account."""
        ledgers = sorted({peer.asks.ledger.hex()[:16] for peer in peers if not self._terms.can_pay(peer)})
        if not ledgers:
            return ""
        return f"; some want to be paid on the ledger {', '.join(ledgers)}: give an account there with --ledger"

    def _same_revision(self, peers: Iterable[PeerInfo] | None = None) -> list[PeerInfo]:
        """Those of `peers`, by default of all, that mean the same model."""
        peers = self._peers if peers is None else peers
        return [peer for peer in peers if peer.revision == self._revision and peer.num_blocks == self.num_blocks]

    def _trusted(self, peers: Sequence[PeerInfo]) -> list[PeerInfo]:
        """Those of `peers` that announce the right weights and are not known to cheat. Raises RevisionMismatch, NoRoute
        if that is nobody."""
        right = [peer for peer in peers if not self.weights.contradicts(peer)]
        if peers and not right:
            raise RevisionMismatch(
                f"all peers of {self._model!r} have other weights than they should, though they name revision "
                f"{self._revision} as well; compare what `python -m swarm identity` says of the files on both sides"
            )
        trusted = [peer for peer in right if not self.book.is_shunned(peer.peer_id)]
        if right and not trusted:
            raise NoRoute(f"all {len(right)} peers of {self._model!r} were found to cheat, and are not used")
        return trusted

    def network(self, peers: Iterable[PeerInfo]) -> Network:
        """`peers` with all that is known of their speed, load and links."""
        own, links, now_s = self._own_sessions(), self._pings.links(), time.time()
        return Network(
            [
                self.estimates.candidate(peer, now_s, links, self.load(peer, own), self.book.slowdown(peer.peer_id))
                for peer in peers
            ],
            self.num_blocks,
        )

    def candidate(self, peer: PeerInfo, slowed: bool = True) -> Candidate:
        """The same of one peer. slowed: as the search for a chain sees it, by its standing; else as it is."""
        load, slowdown = self.load(peer, self._own_sessions()), self.book.slowdown(peer.peer_id) if slowed else 1.0
        return self.estimates.candidate(peer, time.time(), self._pings.links(), load, slowdown)

    def load(self, peer: PeerInfo, own: Counter[str]) -> pb.Load:
        """The newest that is known, and no less than what this client itself keeps busy there."""
        heard, load = self._loads.get(peer.peer_id, (float("-inf"), peer.load))
        newest = load if time.monotonic() - heard < REFRESH_S else peer.load
        if newest.decoding >= own[peer.peer_id]:
            return newest
        known = pb.Load()
        known.CopyFrom(newest)
        known.decoding = own[peer.peer_id]
        return known

    def connection_to(self, peer: PeerInfo) -> Peer:
        return self.connections.to(peer.endpoint)
