"""Taking part in a ledger's epochs: commit to a payload late in each, and reveal it once that is over.

What was committed to is on disk before the ledger hears of it: whoever is interrupted, at any point, goes on where it
was.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from swarm.errors import InvalidRequest, LedgerRefusal, SwarmError
from swarm.market.ledger.ledger import Ledger
from swarm.market.rewards.epochs import Epochs, Span
from swarm.storage.files import write_whole
from swarm.wire.identity import keccak256

COMMIT_AT = 0.75  # of an epoch: what happens later is for the next one
RETRY_S = 30.0  # after a ledger that did not answer
_SUFFIX = ".payload"

logger = logging.getLogger(__name__)


class Committer:
    """In the name of one account holder, who calls `attend` every few seconds."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        epoch_s: float,
        compose: Callable[[int], bytes | None],
        committed: Callable[[bytes], None],
    ):
        """folder: for payloads. epoch_s: that the ledger's epochs last, as its keeper has it. compose: the payload for
        an epoch, and again if that could not be kept; None: nothing to say yet. committed: told of a payload once the
        ledger has it: only then may what it says be forgotten elsewhere, since an epoch may end before a disk or the
        ledger takes it."""
        self._ledger, self._folder, self._epoch_s = ledger, folder, epoch_s
        self._compose, self._on_committed = compose, committed
        self._epochs = Epochs(ledger)
        self._committed = -1  # epochs up to this one need nothing any more
        self._again_s = 0.0  # time.monotonic() before which the ledger is left alone
        self._stem = f"{ledger.id.hex()[:16]}-{ledger.address.hex()}-"

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
        except (SwarmError, OSError, sqlite3.Error) as error:  # a full disk stops no server
            logger.warning("the ledger's epoch has to wait: %s", error)
            self._again_s = time.monotonic() + RETRY_S

    def _is_late(self, span: Span) -> bool:
        return self._ledger.now() >= span.begun_ms / 1000 + COMMIT_AT * self._epoch_s

    def _commit(self, epoch: int) -> None:
        file = self._folder / f"{self._stem}{epoch}{_SUFFIX}"
        if not file.exists():  # else an attempt broke off
            payload = self._compose(epoch)
            if payload is None:
                return
            write_whole(file, payload)
        payload = file.read_bytes()
        try:
            self._ledger.commit(epoch, keccak256(payload))
        except LedgerRefusal as error:  # done before, or too late: which of them, revealing will tell
            logger.info("the commitment for epoch %d: %s", epoch, error)
        else:
            self._on_committed(payload)
        self._committed = epoch

    def _reveal(self, last_ended: int) -> None:
        for file in self._folder.glob(f"{self._stem}*{_SUFFIX}"):
            epoch = int(file.stem.removeprefix(self._stem))
            if epoch > last_ended:
                continue
            try:
                self._ledger.reveal(epoch, file.read_bytes())
            except InvalidRequest as error:
                logger.warning("what was committed to for epoch %d does not count: %s", epoch, error)
            file.unlink()
