"""Finding out which weights a model's blocks have: from its files, or from what peers say of themselves."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from swarm.errors import InvalidRequest, ModelError
from swarm.model.checkpoint import Checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.peers.poll import poll
from swarm.peers.reputation import Reputation
from swarm.peers.weights import KnownWeights
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.connections import Connections

STATUS_TIMEOUT_S = 1.0
PATIENCE_S = 2.0  # that the first session waits until it is known which weights are right

logger = logging.getLogger(__name__)


class Weighing:
    """Of one model. Lives in one event loop."""

    def __init__(self, checkpoint: Checkpoint, connections: Connections, reputation: Reputation):
        self.known = KnownWeights(checkpoint.name)
        self._checkpoint, self._connections, self._reputation = checkpoint, connections, reputation
        self._done = asyncio.Event()  # once what can be known is known

    async def wait(self) -> None:
        """Until it is known which weights are right, but not for long, and only once: it goes on meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._done.wait()
        self._done.set()

    async def hash_files(self, digests: DigestCache) -> None:
        """Block by block in a thread, which may take minutes for a large model when it is first used."""
        try:
            for block in range(self._checkpoint.config.num_blocks):
                self.known.learn(block, await asyncio.to_thread(digests.digest, self._checkpoint, block))
        except ModelError as error:
            logger.warning("the model's files cannot be compared with what peers serve: %s", error)
        self._done.set()

    async def ask(self, peers: Sequence[PeerInfo]) -> None:
        """Those of `peers` that were not asked yet, for the digests of their blocks."""

        async def ask(peer: PeerInfo) -> pb.Status:
            return await self._connections.to(peer.endpoint).status(STATUS_TIMEOUT_S)

        unheard = {peer.peer_id: peer for peer in self.known.unheard(peers)}
        for peer_id, status in (await poll(unheard.values(), ask)).items():
            try:
                self.known.hear(unheard[peer_id], status.block_digests)
            except InvalidRequest as error:
                logger.warning("%s; it is not used", error)
                self._reputation.faulted(peer_id)
        self._done.set()

    def discredit(self, peer: PeerInfo) -> None:
        """It announced the right weights, and refuses a session that expects them."""
        logger.info("peer %s does not serve the weights that it announces", peer.peer_id)
        self.known.discredit(peer)
        self._reputation.faulted(peer.peer_id)
