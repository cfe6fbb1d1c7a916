"""An auditor's voice in a ledger's epochs: it commits itself to scores of what it measured, and reveals them later.

What it has committed to is on disk before the ledger hears of it: a validator that is interrupted, at any point, goes
on where it was.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from swarm.auditor.auditor import Round
from swarm.auditor.scoring import Measurements
from swarm.economy.backups import write_privately
from swarm.economy.epochs import Epochs, Span
from swarm.economy.ledger import Ledger
from swarm.economy.pricing.ballots import Ballot, scores_of
from swarm.economy.stake import quoted_stake
from swarm.errors import LedgerRefusal, NoRoute, SwarmError
from swarm.route.record import PeerInfo
from swarm.wire.identity import address_of

COMMIT_AT = 0.75  # of an epoch: what is measured later is for the next one's ballot
RETRY_S = 30.0  # after a ledger that did not answer
_SUFFIX = ".ballot"

logger = logging.getLogger(__name__)


class Validator:
    """Of one auditor, which calls `attend` every few seconds."""

    def __init__(self, ledger: Ledger, folder: Path, epoch_s: float, peers: Callable[[], Iterable[PeerInfo]]):
        """ledger: in the name of who has the stake. folder: for ballots. epoch_s: that the ledger's epochs last, as its
        keeper has it. peers: who serves the model now, and what they ask."""
        self._ledger, self._folder, self._epoch_s, self._peers = ledger, folder, epoch_s, peers
        self._epochs = Epochs(ledger)
        self._measured = Measurements()
        self._committed = -1  # epochs up to this one need no ballot any more
        self._again_s = 0.0  # time.monotonic() before which the ledger is left alone
        self._stem = f"{ledger.id.hex()[:16]}-{ledger.address.hex()}-"

    def note(self, one: Round) -> None:
        """Count what was audited in a round."""
        for audit in one.generation.audits if one.generation else ():
            self._measured.add(audit)

    def attend(self) -> None:
        """Reveal what may be revealed, and commit if it is time. What fails is tried again later."""
        if time.monotonic() < self._again_s:
            return
        try:
            *ended, running = self._epochs.read()
            if ended:
                self._reveal(ended[-1].epoch)
            if running.epoch > self._committed and self._is_late(running):
                self._commit(running.epoch)
        except SwarmError as error:
            logger.warning("the ledger's epoch has to wait: %s", error)
            self._again_s = time.monotonic() + RETRY_S

    def _is_late(self, span: Span) -> bool:
        return self._ledger.now() >= span.begun_ms / 1000 + COMMIT_AT * self._epoch_s

    def _commit(self, epoch: int) -> None:
        file = self._folder / f"{self._stem}{epoch}{_SUFFIX}"
        if not file.exists():  # else an attempt broke off
            scores = self._scores()
            if not scores:
                return
            write_privately(file, Ballot(self._ledger.address, epoch, scores).encode())
        try:
            self._ledger.commit(epoch, Ballot.decode(file.read_bytes()).digest)
        except LedgerRefusal as error:  # done before, or too late: which of them, revealing will tell
            logger.info("the ballot of epoch %d: %s", epoch, error)
        self._committed, self._measured = epoch, Measurements()

    def _scores(self) -> dict[bytes, int]:
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

    def _stake_for(self, peer: PeerInfo) -> int:
        """At least 1; a quote on another ledger calls for nothing on this one."""
        is_ours = peer.asks.ledger == self._ledger.id
        return max(quoted_stake(peer.asks, peer.stop - peer.start), 1) if is_ours else 1

    def _reveal(self, last_ended: int) -> None:
        for file in self._folder.glob(f"{self._stem}*{_SUFFIX}"):
            epoch = int(file.stem.removeprefix(self._stem))
            if epoch > last_ended:
                continue
            try:
                self._ledger.reveal(epoch, file.read_bytes())
            except LedgerRefusal as error:
                logger.warning("the ballot of epoch %d does not count: %s", epoch, error)
            file.unlink()
