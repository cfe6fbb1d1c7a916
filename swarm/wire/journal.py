"""What a sender sent in one session, so that it can be sent again to whoever replaces the receiver.

Hops keep one for their successor, and the client one for the first hop.
"""

import logging
from collections.abc import Iterator

from swarm.wire import codec
from swarm.wire import messages_pb2 as pb

logger = logging.getLogger(__name__)

REPLAY_TOKENS = 256  # in one message: what a prompt's chunks have, so that the receiver computes it as fast


def as_replay(step: pb.Step, seq: int) -> pb.Step:
    """A copy of `step` under number `seq`: whoever gets it fills its cache with it and answers nothing."""
    copy = pb.Step()
    copy.CopyFrom(step)
    copy.want, copy.replay, copy.prompt, copy.seq = pb.NOTHING, True, True, seq
    return copy


class Journal:
    """The rows of positions 0, 1, ... of one session, as they were on the wire. A row at a position already there
    replaces it and all that followed, as it does in the receiver's cache."""

    def __init__(self, hidden_size: int, wire_dtype: pb.DType):
        self._hidden_size, self._wire_dtype = hidden_size, wire_dtype
        self._row_bytes = hidden_size * codec.torch_dtype(wire_dtype).itemsize
        self._data = bytearray()
        self.complete = True  # False: what it held was dropped, and nothing is recorded any more

    @property
    def length(self) -> int:
        """Positions held."""
        return len(self._data) // self._row_bytes

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def record(self, position: int, data: bytes) -> int:
        """Rows from `position` on; returns how many bytes that takes more than before. position: at most `length`."""
        if not self.complete:
            return 0
        before = len(self._data)
        self._data[position * self._row_bytes :] = data
        return len(self._data) - before

    def drop(self) -> None:
        """Give the memory back; the session can then only be replayed by somebody further up the chain."""
        self._data, self.complete = bytearray(), False

    def rows(self, position: int, count: int) -> codec.Rows | None:
        """The rows of `count` positions, or None if they are not all here."""
        if not count or position + count > self.length:
            return None
        data = bytes(self._data[position * self._row_bytes : (position + count) * self._row_bytes])
        return codec.Rows.of(self._wire_dtype, self._hidden_size, data)

    def steps(self, stop: int, start: int = 0) -> Iterator[pb.Step]:
        """Positions `start` to `stop` as replays, for each of which the receiver signs a receipt. Session, hop and
        sequence number are for the caller to fill in."""
        stop = min(stop, self.length)
        for position in range(start, stop, REPLAY_TOKENS):
            count = min(REPLAY_TOKENS, stop - position)
            if (rows := self.rows(position, count)) is None:
                return  # dropped meanwhile: the receiver will miss it
            yield pb.Step(
                position=position, count=count, hidden=rows.message(), want=pb.NOTHING, replay=True, seal=True,
                prompt=True,
            )  # fmt: skip


class Journals:
    """All journals of one server. Hands them out and keeps their sum below `budget_bytes`.

    A session whose journal was dropped goes on; if its successor dies, its client has to start again from the text.
    """

    def __init__(self, hidden_size: int, budget_bytes: int):
        self.hidden_size, self._budget_bytes = hidden_size, budget_bytes
        self._open: list[Journal] = []  # the oldest first
        self.nbytes = 0

    def open(self, wire_dtype: pb.DType) -> Journal:
        """A journal for a new session."""
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
        self.nbytes += journal.record(position, data)
        while self._open and self.nbytes > self._budget_bytes:
            oldest = self._open.pop(0)
            self.nbytes -= oldest.nbytes
            oldest.drop()
            logger.info("the oldest session's journal was dropped: together they exceed %d bytes", self._budget_bytes)
