"""What a server serves: what sessions are checked against, and what is said of it where it signs."""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.model.identity import weights_root
from swarm.route.peer import PeerInfo


@dataclass(frozen=True)
class Served:
    """Does not change as long as the server runs."""

    peer: PeerInfo  # the peer's record, once the blocks are loaded
    hidden_size: int
    block_digests: Sequence[bytes]  # of the weights of the record's blocks, see swarm.model.identity

    def weights(self, start: int, stop: int) -> bytes:
        """Root of the digests of blocks start to stop - 1, which must be among those served."""
        return weights_root(self.block_digests[start - self.peer.start : stop - self.peer.start])
