"""Which of the peers that the directory lists a client uses: a chain of policies, each of which may say no."""

from collections.abc import Iterable, Sequence

from swarm.errors import NoRoute, RevisionMismatch, SwarmError
from swarm.peers.reputation import Reputation
from swarm.route.peer import PeerInfo


class PeerPolicy:
    """One of them. This one takes everybody; what others ask for, they say by what they override. Lives in one event
    loop."""

    async def look(self, peers: Sequence[PeerInfo]) -> None:
        """`peers` are listed now, and no others. A picture of the swarm waits for this."""

    def accept(self, peer: PeerInfo) -> bool:
        """Whether it may be used, by what is known now."""
        return True

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        """What to raise when it accepts none of `peers`, though all that was asked before does."""
        return NoRoute(f"none of {len(peers)} peers of {model!r} can be used")

    def hint(self, peers: Sequence[PeerInfo]) -> str:
        """To be put behind what went wrong where a chain is lacking: what would make more of `peers` usable, if that is
        in the user's hands."""
        return ""

    def close(self) -> None:
        """The client is closed."""


class SameModel(PeerPolicy):
    """Those that mean the same model as this client does."""

    def __init__(self, revision: str, num_blocks: int):
        self._revision, self._num_blocks = revision, num_blocks

    def accept(self, peer: PeerInfo) -> bool:
        return peer.revision == self._revision and peer.num_blocks == self._num_blocks

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        others = ", ".join(sorted({peer.revision for peer in peers}))
        return RevisionMismatch(
            f"the swarm serves {model!r} in revision {others}, this client has {self._revision}; "
            "use the same files on both sides"
        )


class NotShunned(PeerPolicy):
    """Those that are not known to cheat."""

    def __init__(self, reputation: Reputation):
        self._reputation = reputation

    def accept(self, peer: PeerInfo) -> bool:
        return not self._reputation.is_shunned(peer.peer_id)

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        return NoRoute(f"all {len(peers)} peers of {model!r} were found to cheat, and are not used")


def accepted(policies: Iterable[PeerPolicy], model: str, peers: Sequence[PeerInfo]) -> Sequence[PeerInfo]:
    """Those of `peers` that all of `policies` take. Raises the refusal of the first that leaves none."""
    for policy in policies:
        left = [peer for peer in peers if policy.accept(peer)]
        if peers and not left:
            raise policy.refusal(model, peers)
        peers = left
    return peers


def hints(policies: Iterable[PeerPolicy], peers: Sequence[PeerInfo]) -> str:
    """What each of `policies` has to say of those of `peers` that the ones before it take."""
    text = ""
    for policy in policies:
        text += policy.hint(peers)
        peers = [peer for peer in peers if policy.accept(peer)]
    return text
