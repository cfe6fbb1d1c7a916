"""What this user's clients remember of peers. See swarm.verify.reputation.standing for what it means.

Reading and observing never wait: all is in memory. A thread writes what was observed to a file a moment later,
many observations in one transaction, and takes over what other processes wrote there.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from swarm.errors import DiskTrouble, SwarmError
from swarm.peers.reputation import Reputation
from swarm.storage.condition import Condition
from swarm.storage.writer import CLOSE_S
from swarm.verify.reputation.file import MAX_PEERS, Change, News, ReputationFile, read_proofs
from swarm.verify.reputation.standing import STRANGER, Event, Standing

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
MAX_UNWRITTEN = 10_000  # observations kept while the file cannot be written


class ReputationStore(Reputation):
    """Any thread may use it. Close it, or the observations of the last second may be lost."""

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time):
        """path: the file; without one, or if it cannot be used, nothing outlives this process. now: seconds since the
        epoch."""
        self._path, self._now = path, now
        self._lock = threading.Lock()
        self._standings: dict[str, Standing] = {}
        self._statistics: dict[str, bytes] = {}
        self._convictions: dict[str, str] = {}  # peer id -> kind
        self._news = News()
        self._closing = threading.Event()
        self._condition = Condition("standing of peers", path or Path())
        self._file = self._open()
        self._writer: threading.Thread | None = None
        if self._file:
            writer = threading.Thread(target=self._keep_writing, name="reputation", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:  # then nothing outlives this process
                logger.warning("what is learned of peers will not be kept: %s", error)
                return
            self._writer = writer

    # --- what happened -----------------------------------------------------------------------------------------------

    def observe(self, peer_id: str, event: Event) -> None:
        """Something became of a dealing with this peer."""
        now_s = self._now()
        self._change(peer_id, lambda standing: standing.after(event, now_s))

    def crashed(self, peer_id: str) -> None:
        self.observe(peer_id, Event.CRASH)

    def faulted(self, peer_id: str) -> None:
        self.observe(peer_id, Event.FAULT)

    def observe_speed(self, peer_id: str, log: float) -> None:
        now_s = self._now()
        self._change(peer_id, lambda standing: standing.after_speed(log, now_s))

    def convict(self, peer_id: str, kind: str, proof: bytes) -> None:
        """It is proven to cheat: it is shunned for good. proof: kept beside it."""
        with self._lock:
            if peer_id not in self._convictions:
                self._convictions[peer_id] = kind
                if self._file:
                    self._news.convictions[peer_id] = kind, proof

    def keep_statistic(self, peer_id: str, data: bytes) -> None:
        """What the audits of this peer add up to; opaque here. Of several processes, the last one's is kept."""
        with self._lock:
            self._statistics[peer_id] = data
            _forget_oldest(self._statistics)
            if self._file:
                self._news.statistics[peer_id] = data

    def _change(self, peer_id: str, change: Change) -> None:
        with self._lock:
            # Taken out first, so that the dictionary is in the order of the last dealings.
            self._standings[peer_id] = change(self._standings.pop(peer_id, STRANGER))
            _forget_oldest(self._standings)
            if self._file:
                self._news.changes.append((peer_id, change))

    # --- what follows ------------------------------------------------------------------------------------------------

    def standing(self, peer_id: str) -> Standing:
        """As of now; a stranger's for one that nobody here has dealt with."""
        standing = self._standings.get(peer_id)
        return STRANGER if standing is None else standing.at(self._now())

    def statistic(self, peer_id: str) -> bytes:
        """What `keep_statistic` was given last; empty if nothing was."""
        return self._statistics.get(peer_id, b"")

    def audit_rate(self, peer_id: str) -> float:
        """Share of its segments that should be audited."""
        return self.standing(peer_id).audit_rate

    def lag(self, peer_id: str) -> float:
        return self.standing(peer_id).lag

    def slowdown(self, peer_id: str) -> float:
        return self.standing(peer_id).slowdown

    def proofs(self) -> dict[str, tuple[str, bytes]]:
        """What all convictions rest on: kind and proof, by peer id. Waits for the disk. Raises SwarmError."""
        with self._lock:
            fresh = dict(self._news.convictions)
        return (read_proofs(self._path) if self._path and self._file else {}) | fresh

    def is_convicted(self, peer_id: str) -> bool:
        return peer_id in self._convictions

    def is_shunned(self, peer_id: str) -> bool:
        return self.is_convicted(peer_id) or self.standing(peer_id).is_shunned

    # --- the file ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is left. Takes no longer than CLOSE_S, whatever the disk does."""
        self._closing.set()
        if self._writer:
            self._writer.join(CLOSE_S)

    def _open(self) -> ReputationFile | None:
        if self._path is None:
            return None
        try:
            file = ReputationFile(self._path)
            pages = file.exchange(News())
        except SwarmError as error:
            logger.warning("what becomes of dealings with peers is forgotten at the end: %s", error)
            return None
        self._standings, self._statistics = pages.standings, pages.statistics
        self._convictions = pages.convictions
        return file

    def _keep_writing(self) -> None:
        while not self._closing.wait(WRITE_EVERY_S):
            self.flush()
        self.flush()
        if self._file:
            self._file.close()

    def flush(self) -> None:
        """Write what is new, and take over what others wrote; it is done every WRITE_EVERY_S anyway. May wait for the
        disk."""
        if self._file is None:
            return
        with self._lock:
            news, self._news = self._news, News()
        try:
            pages = self._file.exchange(news)
        except DiskTrouble as error:  # another time
            self._condition.failed(str(error))
            with self._lock:
                self._news = _joined(news, self._news)
            return
        self._condition.written(is_all=True)
        with self._lock:
            for peer_id, change in self._news.changes:  # made since
                if peer_id in pages.standings:
                    pages.standings[peer_id] = change(pages.standings[peer_id])
            self._standings |= pages.standings
            _forget_oldest(self._standings)
            self._statistics |= pages.statistics | self._news.statistics
            self._convictions |= pages.convictions


def _joined(older: News, newer: News) -> News:
    changes = (older.changes + newer.changes)[-MAX_UNWRITTEN:]
    return News(changes, older.statistics | newer.statistics, newer.convictions | older.convictions)


def _forget_oldest(known: dict[str, Standing] | dict[str, bytes]) -> None:
    while len(known) > MAX_PEERS:
        del known[next(iter(known))]
