"""Whether a file takes what is written to it. The log hears when that changes, and not each time."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 5.0  # that a write may take before its disk counts as one that does not answer

logger = logging.getLogger(__name__)


class Condition:
    """Of one file. Any thread may use it."""

    def __init__(
        self,
        what: str,
        path: Path | None,
        clock: Callable[[], float] = time.monotonic,
        meanwhile: str = "what is to be written is kept in memory until then",
    ):
        """what: is written there, as in "receipts". clock: seconds. meanwhile: what is done until it is over, for the
        log."""
        self._what, self._path, self._clock, self._meanwhile = what, path, clock, meanwhile
        self._lock = threading.Lock()
        self._reason = ""  # why it takes nothing; empty: it does
        self._since = 0.0  # when that began
        self._begun: float | None = None  # when what waits longest came

    def waits(self) -> None:
        """Something is to be written."""
        with self._lock:
            if self._begun is None:
                self._begun = self._clock()

    def failed(self, reason: str, detail: str = "") -> None:
        """It could not be written, and waits. reason: for everybody, so without paths. detail: for the log, if more is
        to be said there."""
        with self._lock:
            self._note(reason, detail)

    def written(self, is_all: bool) -> None:
        """What waited was written; or a part of it."""
        with self._lock:
            self._begun = None if is_all else self._clock()
            if self._reason:
                lasted_s = self._clock() - self._since
                logger.warning("the %s in %s can be written again, after %.0f s", self._what, self._path, lasted_s)
            self._reason = ""

    def trouble(self) -> str:
        """Why nothing that has to be written should be begun now, for others to read; empty: it may."""
        with self._lock:
            if not self._reason and self._begun is not None and self._clock() - self._begun > PATIENCE_S:
                self._note(f"its disk does not answer for {PATIENCE_S:.0f} s")
            return f"it cannot write its {self._what}: {self._reason}" if self._reason else ""

    def _note(self, reason: str, detail: str = "") -> None:
        if not self._reason:
            self._since = self._clock()
            logger.warning(
                "the %s in %s cannot be written: %s; %s", self._what, self._path, detail or reason, self._meanwhile
            )  # fmt: skip
        self._reason = reason
