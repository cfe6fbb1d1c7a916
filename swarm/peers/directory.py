"""The directory: signed records of who serves what, in a Hivemind DHT.

One DHT key per model holds a dictionary from peer id to signed record, another one the convictions of its peers; one
key of all lists the models, each by a record of one of its peers. Every
node that takes part in the DHT checks every entry before storing or returning it, so a forged one does not get past its
first honest neighbour. In a private swarm nobody but members takes part: see private_p2p.py.
"""

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from swarm import clock
from swarm.errors import InvalidRequest, PeerUnreachable
from swarm.peers import convictions
from swarm.peers import record as records
from swarm.peers.convictions import Conviction
from swarm.peers.dht.acquaintances import Acquaintances
from swarm.peers.dht.bounded_storage import MAX_MODELS, MODELS_KEY
from swarm.peers.dht.node import Node, NodeOptions
from swarm.peers.dht.validator import EntryValidator, Rejections, records_key
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.hosts import check_peer_address
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret

logger = logging.getLogger(__name__)

READING_SHARE = 0.03  # of the time, at most, that goes into reading the directory: a large one takes a while
RECORD_LIFE_S = 30.0  # a crashed peer is gone after this; a live one refreshes three times as often
MAX_PEERS_PER_MODEL = 10_000  # more would not be read: a flood of fresh keys costs its sender, not the reader
CONVICTION_LIFE_S = 300.0
LISTERS = 3  # of a model, on average, in the third of a record's life in which each says its own again
MAX_ACCUSATIONS = 1_000  # that a reader looks at; several nodes may hold different ones


class Published(NamedTuple):
    """What became of a record."""

    record_hash: bytes  # by which it can be named as a quote
    stored: bool  # whether the directory took it, as far as is known here


class Directory:
    """A process's access to the directory. Everything happens in the event loop that created it."""

    def __init__(self, node: Node, rejections: Rejections):
        self._node, self.rejections = node, rejections
        self._last_expiry_ms = 0
        self._peers_seen: dict[str, int] = {}  # by model, at the last look
        self._refused_since_s: float | None = None  # time.monotonic()

    @classmethod
    async def join(
        cls,
        peers: Sequence[str] = (),
        *,
        identity_path: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        client: bool = False,
        timeout_s: float = 10.0,
        secret: Secret | None = None,
        memory: Path | None = None,
        on_return: Callable[[], None] = lambda: None,
    ) -> "Directory":
        """Join the DHT through `peers` (multiaddresses), or start a new one if there are none.

        client: only ask, never store for others. secret: of a private swarm. memory: file of the nodes met, through
        which this process joins as well. on_return: called when nodes are found again that were silent: what was
        published may have been forgotten.
        Raises InvalidRequest for an address of the wrong form, and what Node.join does.
        """
        for address in peers:
            check_peer_address(address)
        rejections = Rejections()
        options = NodeOptions(host, port, identity_path, client, secret)
        node = Node(options, EntryValidator(rejections), Acquaintances(memory), on_return)
        await node.join(peers, timeout_s)
        return cls(node, rejections)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else was found on joining."""
        return self._node.is_alone

    async def meet(self, addresses: Sequence[str]) -> None:
        """Be of one swarm with these, as far as they answer: multiaddresses."""
        await self._node.meet(addresses)

    async def addresses(self) -> list[str]:
        """Multiaddresses at which others can join through this process."""
        return await self._node.addresses()

    async def publish(self, record: pb.PeerRecord, identity: Identity, life_s: float = RECORD_LIFE_S) -> Published:
        """Store `record`, stamped with the present time and signed. Call again before `life_s` is over."""
        record.issued_ms, record.expires_ms = self._times_ms(life_s)
        value = records.sign(record, identity)
        expires_s, rejected = record.expires_ms / 1000, self.rejections.count
        why_not = await self._node.store(records_key(record.model), record.peer_id, value, expires_s)
        if why_not and self.rejections.count > rejected:  # by this process's own node
            why_not = self.rejections.last_reason
        self._tell(why_not, life_s)
        if not why_not and record.state != pb.LEAVING:
            await self._list_model(record.model, value, expires_s)
        return Published(hashlib.sha256(record.SerializeToString()).digest(), not why_not)

    def _tell(self, why_not: str, life_s: float) -> None:
        """Of a record that was not taken, before the one that was is forgotten: a single refusal harms nobody."""
        now_s = time.monotonic()
        if not why_not:
            self._refused_since_s = None
        elif self._refused_since_s is None:
            self._refused_since_s = now_s
            logger.info("the directory did not take this peer's record: %s; it is told again", why_not)
        elif now_s - self._refused_since_s > life_s / 2:
            logger.warning("the directory has not taken this peer's record for a while: %s", why_not)

    async def _list_model(self, model: str, value: bytes, expires_s: float) -> None:
        """Let others find the model without knowing its name: each does it as often as makes LISTERS of all."""
        if random.random() < LISTERS / max(self._peers_seen.get(model, 1), 1):
            await self._node.store(MODELS_KEY, model, value, expires_s)

    async def models(self) -> list[str]:
        """Names of the models that this swarm serves, or is about to; of a flood of them, MAX_MODELS. Raises
        PeerUnreachable if the directory does not answer."""
        return sorted({one.model for one in await self._one_of_each_model()})

    async def names_of(self, revision: str) -> list[str]:
        """Under which models of that revision are served. Raises as `models` does."""
        return sorted({one.model for one in await self._one_of_each_model() if one.revision == revision})

    async def _one_of_each_model(self) -> list[PeerInfo]:
        """Who serves it."""
        found = await self._node.get(MODELS_KEY)
        listed = []
        for value in list(found.values())[:MAX_MODELS]:
            with suppress(InvalidRequest):
                listed.append(records.verify(value))
        return listed

    async def peers(self, model: str, joining: bool = False) -> list[PeerInfo]:
        """Verified records of the peers that serve `model` now, those that said goodbye left out.

        joining: with those that are still loading. Raises PeerUnreachable if the directory does not answer.
        """
        found = await self._node.get(records_key(model))
        self._peers_seen[model] = len(found)
        peers, wanted = [], {pb.ONLINE, pb.MOVING} | ({pb.JOINING} if joining else set())
        for value in list(found.values())[:MAX_PEERS_PER_MODEL]:
            try:
                info = records.verify(value)
            except InvalidRequest as error:  # expired since, or from a store that does not check
                logger.debug("ignored %s", error)
                continue
            if info.model == model and info.state in wanted:
                peers.append(info)
        return peers

    async def own_record(self, model: str, peer_id: str) -> PeerInfo | None:
        """The verified record under this process's own peer id, in whichever state; None if there is none now. It may
        be another process's, or an earlier one's: what is published from now on outlives it. Raises PeerUnreachable if
        the directory does not answer."""
        found = (await self._node.get(records_key(model))).get(peer_id)
        if found is None:
            return None
        try:
            # Also if its time has not come yet: an earlier process may have gone by a clock that was set since.
            signer, expires_ms = records.signer_and_expiry(found)
            if signer == peer_id:
                self._last_expiry_ms = max(self._last_expiry_ms, expires_ms)
            info = records.verify(found)
        except InvalidRequest:
            return None
        return info if info.peer_id == peer_id and info.model == model else None

    async def accuse(self, conviction: Conviction, identity: Identity, life_s: float = CONVICTION_LIFE_S) -> bool:
        """Announce `conviction`, stamped with the present time and signed by `identity`, its announcer; whether the
        directory took it. Call again before `life_s` is over. Raises InvalidRequest if it is too large."""
        issued_ms, expires_ms = self._times_ms(life_s)
        conviction = replace(conviction, issued_ms=issued_ms, expires_ms=expires_ms)
        value, key = convictions.sign(conviction, identity), convictions.dht_key(conviction.model)
        return not await self._node.store(key, conviction.subkey, value, expires_ms / 1000)

    async def accusations(self, model: str) -> dict[str, bytes]:
        """What is announced about peers of `model`: signed convictions by subkey, none of them checked but for their
        form, at most MAX_ACCUSATIONS, drawn at random; none while the directory does not answer."""
        try:
            found = await self._node.get(convictions.dht_key(model))
        except PeerUnreachable:
            return {}
        return dict(random.sample(sorted(found.items()), min(len(found), MAX_ACCUSATIONS)))

    def _times_ms(self, life_s: float) -> tuple[int, int]:
        """When what is published now was issued and expires. The DHT keeps what expires last: nothing that this process
        says may be outlived by what it said before."""
        now_ms = clock.now_ms()
        outlives_ms = min(self._last_expiry_ms + 1, now_ms + records.MAX_LIFE_S * 1000)  # the clock may have been set
        self._last_expiry_ms = max(now_ms + int(life_s * 1000), outlives_ms)
        return now_ms, self._last_expiry_ms

    async def leave(self) -> None:
        """Stop taking part in the DHT."""
        await self._node.leave()
