"""Writing to one SQLite file while a process runs.

Nobody waits for the disk who does not ask for it: a thread writes whatever has come by then in one transaction, and
what the disk does not take is kept in memory, and tried again until it does.
"""

import asyncio
import atexit
import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from swarm.errors import DiskTrouble, SwarmError
from swarm.storage.condition import PATIENCE_S, Condition
from swarm.storage.connection import FileConnection
from swarm.storage.database import Layout, open_to_read

MAX_WAITING = 200_000  # writes in memory; of more, some are lost
MAX_BATCH = 10_000  # in one transaction
RETRY_S = 0.5
BUSY_S = 1.0  # for another process that writes
CLOSE_S = 1.5  # that the end may take, whatever the disk does: less than a server gives it

# What is wrong with a write itself, and not with the disk: it would fail for ever.
_WRONG = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)

Answer = TypeVar("Answer")
Write = Callable[[sqlite3.Connection], Any]  # inside a transaction; called again when that has failed

logger = logging.getLogger(__name__)

_open: "WeakSet[Writer]" = WeakSet()  # whose last writes a process that simply ends must not take with it


@dataclass(eq=False)
class _Waiting:
    write: Write
    what: str = "write"  # in words, for the log
    answer: "Future[Any] | None" = None
    written: Callable[[], None] | None = None


class Writer:
    """Of one file, which other processes may share. Any thread may use it."""

    def __init__(self, path: Path | None, layout: Layout, max_waiting: int = MAX_WAITING, *, reads_only: bool = False):
        """path: None: what is written ends with this process. reads_only: nothing is written, which needs neither the
        file nor room on its disk. Raises SwarmError if it cannot be used."""
        self._path, self._layout, self._max_waiting, self._reads_only = path, layout, max_waiting, reads_only
        self._using = threading.RLock()  # the writer's own connection: in memory there is no other
        self.condition = Condition(layout.what, path)
        self._file = FileConnection(path, layout, busy_s=BUSY_S, is_wanted=not reads_only)
        self._waiting: dict[object, _Waiting] = {}
        self._precious: dict[object, _Waiting] = {}  # those with a key of their own, which are the last to be lost
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._give_up_s: float | None = None  # time.monotonic(), once it is to end
        self._lost: Counter[str] = Counter()  # of what there was no room for, and the log has not heard
        _open.add(self)

    def put(
        self, write: Write, key: object = None, written: Callable[[], None] | None = None, what: str = "write"
    ) -> None:
        """Have it done, as soon as the disk allows. key: in the place of what waits under the same one; what has one is
        written first, and is lost last where too much waits. written: called in the thread when it is on disk. what: it
        writes, for the log."""
        self._add(_Waiting(write, what, written=written), key)

    async def ask(
        self, write: Callable[[sqlite3.Connection], Answer], what: str = "write", within_s: float = PATIENCE_S
    ) -> Answer:
        """What `write` returns, once it is on disk. Raises DiskTrouble if it is not by then or the disk fails; it is
        done later then, and its answer is lost."""
        asked: Future[Answer] = Future()
        asked.set_running_or_notify_cancel()  # whoever ceases to wait does not cancel it
        self._add(_Waiting(write, what, asked), None)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked), within_s)
        except TimeoutError as error:
            raise DiskTrouble(self.condition.trouble() or "its disk is too slow") from error

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until nothing waits any more, but not for a disk that fails; whether that is so."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waits() or self.condition.trouble(), timeout_s)
            return not self._waits()

    def trouble(self) -> str:
        """See Condition.trouble."""
        with self._changed:
            if self._waits() and self._give_up_s is None:
                self._have_it_written()
        return self.condition.trouble()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection beside the writer's. Raises DiskTrouble for a file that fails, also inside."""
        if self._path is None:
            with self._using:
                yield self._file.get()
            return
        try:
            database = open_to_read(self._path, self._layout, PATIENCE_S, may_be_missing=self._reads_only)
        except SwarmError as error:
            raise DiskTrouble(str(error)) from error
        try:
            yield database
        except sqlite3.Error as error:
            raise DiskTrouble(f"the {self._layout.what} in {self._path} cannot be used: {error}") from error
        finally:
            with suppress(sqlite3.Error):
                database.close()

    def close(self) -> None:
        """Write what waits, and let go of the file. Takes no longer than CLOSE_S, whatever the disk does."""
        _close([self])

    def _end_by(self, give_up_s: float) -> None:
        """Nothing more comes. give_up_s: time.monotonic()."""
        _open.discard(self)
        with self._changed:
            self._give_up_s = give_up_s
            self._changed.notify_all()

    def _await_end(self) -> None:
        assert self._give_up_s is not None
        if self._thread:
            self._thread.join(max(self._give_up_s - time.monotonic(), 0))
        else:
            self._file.close()
        with self._changed:
            lost = self._lost + Counter(one.what for one in chain(self._precious.values(), self._waiting.values()))
            self._lost.clear()
        if lost:
            logger.error("%s could not be written to %s by its end", _counted(lost), self._path or "memory")

    def _waits(self) -> bool:
        return bool(self._precious or self._waiting)

    def _add(self, one: _Waiting, key: object) -> None:
        with self._changed:
            if self._give_up_s is not None:
                logger.error("a %s to %s is lost: it came after its end", one.what, self._path or "memory")
                if one.answer:
                    one.answer.set_exception(DiskTrouble("it came after the end"))
                return
            into = self._waiting if key is None else self._precious
            key = one if key is None else key
            into.pop(key, None)  # so that it is the newest
            if len(self._waiting) + len(self._precious) >= self._max_waiting:
                full = self._waiting or self._precious
                self._lost[full.pop(next(iter(full))).what] += 1
            into[key] = one
            self.condition.waits()
            self._have_it_written()
            self._changed.notify_all()

    def _have_it_written(self) -> None:
        """By a thread, which may have to wait until the machine has one."""
        if self._thread and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._write_to_the_end, name=f"writes {self._layout.what}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self.condition.failed("the machine has no thread left", str(error))
        else:
            self._thread = thread

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _write_to_the_end(self) -> None:
        try:
            self._keep_writing()
        finally:
            with self._using:
                self._file.close()

    def _keep_writing(self) -> None:
        while batch := self._next():
            try:
                with self._using:
                    answers = self._commit([one for _, one in batch])
            except Exception as error:  # also where memory is short: nobody else would write
                self._note_failure(batch, error)
                if not self._pause():
                    return
            else:
                self._note_done(batch, answers)

    def _next(self) -> list[tuple[object, _Waiting]]:
        """What is to be written together; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waits() or self._give_up_s is not None)
            return list(islice(chain(self._precious.items(), self._waiting.items()), MAX_BATCH))

    def _pause(self) -> bool:
        """Before another try; whether there is to be one."""
        with self._changed:
            if self._give_up_s is None:
                self._changed.wait_for(lambda: self._give_up_s is not None, RETRY_S)
                return True
            left_s = self._give_up_s - time.monotonic()
            if left_s > 0:
                self._changed.wait(min(left_s, RETRY_S))
            return left_s > 0

    def _commit(self, batch: list[_Waiting]) -> list[Any]:
        """All or nothing. Raises sqlite3.Error, SwarmError."""
        database = self._file.get()
        database.execute("BEGIN IMMEDIATE")
        try:
            answers = [self._do(one, database) for one in batch]
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
            raise
        return answers

    def _do(self, one: _Waiting, database: sqlite3.Connection) -> Any:
        try:
            return one.write(database)
        except (sqlite3.Error, OSError) as error:
            if not isinstance(error, _WRONG):
                raise
            failure: Exception = error
        except Exception as error:
            failure = error
        logger.error("a write to %s is left out", self._path or "memory", exc_info=failure)
        return failure

    def _note_failure(self, batch: list[tuple[object, _Waiting]], error: Exception) -> None:
        self._file.failed(error)
        self.condition.failed(_reason(error), str(error))
        for _, one in batch:
            answer, one.answer = one.answer, None
            if answer:
                answer.set_exception(DiskTrouble(self.condition.trouble()))
        with self._changed:
            self._changed.notify_all()

    def _note_done(self, batch: list[tuple[object, _Waiting]], answers: list[Any]) -> None:
        with self._changed:
            for key, one in batch:
                for waiting in (self._precious, self._waiting):
                    if waiting.get(key) is one:  # else a newer one has come in its place
                        del waiting[key]
            if self._lost:
                what = _counted(self._lost)
                logger.error("%s to %s were lost: more than %d waited", what, self._path, self._max_waiting)
                self._lost.clear()
            self.condition.written(is_all=not self._waits())
            self._changed.notify_all()
        for (_, one), answer in zip(batch, answers, strict=True):
            try:
                if one.written:
                    one.written()
                if one.answer:
                    one.answer.set_exception(answer) if isinstance(answer, Exception) else one.answer.set_result(answer)
            except Exception:  # whoever asked; the others' writes go on
                logger.exception("what was to follow a write to %s failed", self._path or "memory")


def _reason(error: Exception) -> str:
    """What is wrong, without the file's path."""
    return error.strerror or "its disk fails" if isinstance(error, OSError) else str(error) or repr(error)


def _counted(what: Counter[str]) -> str:
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in what.items())


def _close(writers: list[Writer]) -> None:
    give_up_s = time.monotonic() + CLOSE_S
    for writer in writers:
        writer._end_by(give_up_s)
    for writer in writers:
        writer._await_end()


os.register_at_fork(after_in_child=_open.clear)  # they are the parent's, and so are their threads


@atexit.register
def _close_all() -> None:
    _close(list(_open))
