"""An auditor's voice in a ledger's epochs: it commits itself to scores of what it measured, and reveals them later."""

from collections.abc import Callable, Iterable
from pathlib import Path

from swarm.auditor.auditor import Round
from swarm.auditor.scoring import Measurements
from swarm.errors import NoRoute
from swarm.market.ledger.ledger import Ledger
from swarm.market.rewards.ballots import Ballot, scores_of
from swarm.market.rewards.committing import Committer
from swarm.market.stake import quoted_stake
from swarm.route.peer import PeerInfo
from swarm.wire.identity import address_of


class Validator:
    """Of one auditor, which calls `attend` every few seconds."""

    def __init__(self, ledger: Ledger, folder: Path, epoch_s: float, peers: Callable[[], Iterable[PeerInfo]]):
        """ledger: in the name of who has the stake. folder, epoch_s: see Committer. peers: who serves the model now,
        and what they ask."""
        self._ledger, self._peers = ledger, peers
        self._committer = Committer(ledger, folder, epoch_s, self._compose, self._forget)
        self._measured = Measurements()
        self._since: Measurements | None = None  # the last ballot was composed

    def note(self, one: Round) -> None:
        """Count what was audited in a round."""
        for audit in one.generation.audits if one.generation else ():
            self._measured.add(audit)
            if self._since:
                self._since.add(audit)

    def attend(self) -> None:
        """Commit, and reveal, if it is time."""
        self._committer.attend()

    def scores(self) -> dict[bytes, int]:
        """Of servers that have at stake what their prices call for: a key that stakes nothing would be paid for being
        there."""
        try:
            asked = {address_of(peer.peer_id): self._stake_for(peer) for peer in self._peers()}
        except NoRoute:  # some blocks are missing now; what was measured was measured
            asked = {}
        return scores_of({
            server: float(score) for server, score in self._measured.scores().items()
            if self._ledger.account(server).staked >= asked.get(server, 1)
        })  # fmt: skip

    def _compose(self, epoch: int) -> bytes | None:
        self._since, scores = Measurements(), self.scores()
        return Ballot(self._ledger.address, epoch, scores).encode() if scores else None

    def _forget(self, ballot: bytes) -> None:
        """What is in a ballot of this auditor's; one that was composed before it began holds nothing that it knows."""
        if self._since:
            self._measured, self._since = self._since, None

    def _stake_for(self, peer: PeerInfo) -> int:
        """At least 1; a quote on another ledger calls for nothing on this one."""
        is_ours = peer.asks.ledger == self._ledger.id
        return max(quoted_stake(peer.asks, peer.stop - peer.start), 1) if is_ours else 1
