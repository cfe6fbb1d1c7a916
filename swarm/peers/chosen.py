"""The peers that a client names, to use no others or never these."""

from collections.abc import Iterable, Sequence

from swarm.errors import SwarmError
from swarm.peers.policy import PeerPolicy, nobody
from swarm.route.peer import PeerInfo
from swarm.shown import count
from swarm.wire.peer_names import check_peer_names, find_peer, is_whole, short_id


class Chosen(PeerPolicy):
    """The trusted and not the excluded ones. A name that is only the end of an id is looked up when the client first
    sees peers, and from then on stands for that peer alone; whole ids may be of peers that are yet to come."""

    def __init__(self, trusted: str | Iterable[str] | None = None, excluded: str | Iterable[str] = ()):
        """trusted: None: all. Raises InvalidRequest for what names no peer."""
        self._trusted = None if trusted is None else frozenset(check_peer_names(trusted))
        self._excluded = frozenset(check_peer_names(excluded))
        self._is_looked_up = False

    def accept(self, peer: PeerInfo) -> bool:
        return peer.peer_id not in self._excluded and (self._trusted is None or peer.peer_id in self._trusted)

    def check(self, peers: Sequence[PeerInfo]) -> None:
        if peers and not self._is_looked_up:
            there = [peer.peer_id for peer in peers]
            self._trusted = None if self._trusted is None else _looked_up(self._trusted, there)
            self._excluded = _looked_up(self._excluded, there)
            self._is_looked_up = True

    def why(self, peer: PeerInfo) -> str:
        return "is excluded by this client" if peer.peer_id in self._excluded else "is not among those it trusts"

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        there = ", ".join(sorted(short_id(peer.peer_id) for peer in peers))
        which = "excluded" if self._trusted is None else "not among those that are trusted"
        return nobody(
            f"no peer of {model!r} is used: {count(len(peers), 'peer')} {which} by this client: {there}", peers
        )


def _looked_up(names: frozenset[str], there: Sequence[str]) -> frozenset[str]:
    """Raises InvalidRequest."""
    return frozenset(name if is_whole(name) else find_peer(name, there, "in this swarm") for name in names)
