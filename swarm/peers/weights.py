"""Which weights a model's blocks have, as far as a client knows, and which peers announce others. No I/O.

A client that has the model's files knows. One that has not can only compare what peers say of themselves: where they
contradict each other, it believes the most of them. That finds a peer with other files; it is no proof against somebody
who runs more peers than everybody else.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from swarm.errors import InvalidRequest, RevisionMismatch, SwarmError
from swarm.model.identity import weights_root
from swarm.peers.policy import PeerPolicy
from swarm.program import command
from swarm.route.peer import PeerInfo
from swarm.wire.formats.merkle import DIGEST_BYTES
from swarm.wire.peer_names import short_id

logger = logging.getLogger(__name__)


class KnownWeights(PeerPolicy):
    """Digests of blocks (see swarm.model.identity), and the roots over ranges that follow from them."""

    reason = "has other weights"

    def __init__(self, model: str):
        """model: its name, for messages."""
        self._model = model
        self._own: dict[int, bytes] = {}  # by block
        self._said: dict[str, tuple[PeerInfo, Sequence[bytes]]] = {}  # by peer id; no digests: what it said was wrong
        self._votes: dict[int, Counter[bytes]] = {}  # by block: how many peers say so
        self._roots: dict[tuple[int, int], bytes] = {}  # by range, as far as they were asked for
        self._warned = False

    def learn(self, block: int, digest: bytes) -> None:
        """From the model's own files: what others say of this block does not count any more."""
        self._own[block] = digest
        self._roots.clear()

    def hear(self, peer: PeerInfo, digests: Sequence[bytes]) -> None:
        """What `peer` says of its blocks; untrusted. Raises InvalidRequest if that is not what its signed record says:
        then it counts for nothing, and is not used."""
        fits = len(digests) == peer.stop - peer.start and all(len(digest) == DIGEST_BYTES for digest in digests)
        agrees = fits and weights_root(digests) == peer.weights
        self.discredit(peer)
        if not agrees:
            raise InvalidRequest(f"peer {short_id(peer.peer_id)} announces other weights in its record than it gives")
        self._said[peer.peer_id] = peer, digests
        for block, digest in enumerate(digests, peer.start):
            self._votes.setdefault(block, Counter())[digest] += 1
            self._warn_of_dispute(block)

    def discredit(self, peer: PeerInfo) -> None:
        """It was found to serve others than it announces: it counts for nothing, and is not used."""
        self._forget(peer.peer_id)
        self._said[peer.peer_id] = peer, ()

    def keep_only(self, peers: Collection[PeerInfo]) -> None:
        """Forget what others said: they have left, or serve something else by now."""
        listed = {peer.peer_id: peer for peer in peers}
        for peer_id, (then, _) in list(self._said.items()):
            now = listed.get(peer_id)
            if now is None or (now.blocks, now.weights) != (then.blocks, then.weights):
                self._forget(peer_id)

    def unheard(self, peers: Collection[PeerInfo]) -> list[PeerInfo]:
        """Those that announce weights of which nothing is known here, and were not asked about them yet."""
        return [
            peer for peer in peers
            if peer.weights and peer.peer_id not in self._said
            and any(block not in self._own for block in range(peer.start, peer.stop))
        ]  # fmt: skip

    def root(self, start: int, stop: int) -> bytes:
        """That a peer with the right weights has for blocks start to stop - 1; empty: not known."""
        if (start, stop) not in self._roots:
            known = [digest for block in range(start, stop) if (digest := self._right(block)) is not None]
            self._roots[start, stop] = weights_root(known) if len(known) == stop - start else b""
        return self._roots[start, stop]

    async def look(self, peers: Sequence[PeerInfo]) -> None:
        self.keep_only(peers)

    def accept(self, peer: PeerInfo) -> bool:
        return not self.contradicts(peer)

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        return RevisionMismatch(
            f"all peers of {model!r} have other weights than they should, though they name revision "
            f"{peers[0].revision} as well; compare what `{command('identity')}` says of the files on both sides"
        )

    def contradicts(self, peer: PeerInfo) -> bool:
        """Whether `peer` announces other weights than the right ones, as far as they are known, or two kinds."""
        if not peer.weights:
            return False
        if (said := self._said.get(peer.peer_id)) and not said[1]:
            return True
        root = self.root(peer.start, peer.stop)
        return bool(root) and root != peer.weights

    def _right(self, block: int) -> bytes | None:
        if block in self._own:
            return self._own[block]
        votes = self._votes.get(block)
        return votes.most_common(1)[0][0] if votes else None  # of two with as many votes, the one that was heard first

    def _forget(self, peer_id: str) -> None:
        peer, digests = self._said.pop(peer_id, (None, ()))
        for block, digest in enumerate(digests, peer.start if peer else 0):
            self._votes[block][digest] -= 1
            if not self._votes[block][digest]:
                del self._votes[block][digest]
        self._roots.clear()

    def _warn_of_dispute(self, block: int) -> None:
        """Once."""
        if self._warned or block in self._own or len(self._votes[block]) < 2:
            return
        self._warned = True
        logger.warning(
            "peers announce different weights for block %d of %r, though they name the same revision; using those that "
            "most of them have. To be sure, compare `%s` with a machine that you trust",
            block, self._model, command("identity"),
        )  # fmt: skip
