"""The journals of all sessions of one server: bounded memory, the oldest sessions give way first."""

import logging

from swarm.wire.journal import Journal

logger = logging.getLogger(__name__)


class Journals:
    """Hands out journals and keeps their sum below `budget_bytes`.

    A session whose journal was dropped goes on; if its successor dies, its client has to start again from the text.
    """

    def __init__(self, hidden_size: int, budget_bytes: int):
        self.hidden_size, self._budget_bytes = hidden_size, budget_bytes
        self._open: list[Journal] = []  # the oldest first
        self.nbytes = 0
        self.dropped = 0

    def open(self, wire_dtype: int) -> Journal:
        """A journal for a new session. wire_dtype: a pb.DType."""
        journal = Journal(self.hidden_size, wire_dtype)
        self._open.append(journal)
        return journal

    def close(self, journal: Journal) -> None:
        """Its session has ended."""
        if journal in self._open:
            self._open.remove(journal)
            self.nbytes -= journal.nbytes

    def record(self, journal: Journal, position: int, data: bytes) -> None:
        """Journal.record, and make room if that was too much."""
        before = journal.nbytes
        journal.record(position, data)
        self.nbytes += journal.nbytes - before
        while self._open and self.nbytes > self._budget_bytes:
            oldest = self._open.pop(0)
            self.nbytes -= oldest.nbytes
            oldest.drop()
            self.dropped += 1
            logger.info("the oldest session's journal was dropped: together they exceed %d bytes", self._budget_bytes)
