"""The embedded ledger: one SQLite file that several processes of one machine may share.

Every operation is one transaction, on disk when the call returns: whatever kills the process, and whenever, it was done
as a whole or not at all.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from threading import RLock

from swarm.clock import now_s
from swarm.errors import DiskTrouble, PeerUnreachable, SwarmError
from swarm.market.ledger.bookkeeping.book import LAYOUT, Book
from swarm.market.ledger.bookkeeping.orders import SignedOrder, new_order
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.bookkeeping.rules import Terms
from swarm.market.ledger.ids import format_address, ledger_id
from swarm.market.ledger.ledger import Account, Channel, Rules, Supply
from swarm.market.ledger.ordered import OrderedLedger
from swarm.storage.condition import Condition
from swarm.storage.connection import FileConnection
from swarm.storage.database import read_database
from swarm.wire.identity import Identity

BUSY_S = 30.0  # how long to wait for other processes that write
_PAGE = 256  # entries that are read at a time

Clock = Callable[[], float]  # Unix time in seconds


class SqliteLedger(OrderedLedger):
    """See Ledger. Safe to use from several threads, and together with other processes on the same file."""

    def __init__(
        self,
        path: Path | None,
        identity: Identity,
        rules: Rules | None = None,
        *,
        arbiter: bytes | None = None,
        clock: Clock = now_s,
    ):
        """Open the ledger in the file at `path`, or make one there, of which `identity` is the issuer.

        path: None for one in memory. The keeper's key is in a file beside it.
        rules, arbiter (an address; default: the issuer): of a new ledger.
        Raises SwarmError if there is no ledger at `path` and none can be made, or its keeper's key is not there.
        """
        super().__init__(identity)
        self._path, self._clock = path, clock
        self._writer = _OpenBook(path, is_first=True)
        with self._writer.using() as book:
            self._keeper, terms = self._found(book, rules or Rules(), arbiter)
        self._reader = _OpenBook(path) if path else self._writer  # who reads does not wait for who writes
        self._set_terms(terms)

    def shut(self) -> None:
        """Let go of the file. Whoever asks afterwards finds it unreachable."""
        self._writer.shut()
        self._reader.shut()

    # --- reading -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        with self.reading() as book:
            _, last_ms, _ = book.head()
        return max(self._time_ms(), last_ms) // 1000

    def account(self, address: bytes | None = None) -> Account:
        with self.reading() as book:
            return book.tables.account(self.address if address is None else address)

    def supply(self) -> Supply:
        with self.reading() as book:
            return book.tables.supply()

    def channel(self, channel: bytes) -> Channel | None:
        with self.reading() as book:
            return book.tables.channel(channel)

    def channels(self, payer: bytes | None = None, payee: bytes | None = None) -> list[Channel]:
        with self.reading() as book:
            return book.tables.channels(payer, payee)

    def unbonding(self, address: bytes | None = None) -> list[tuple[int, int]]:
        with self.reading() as book:
            return book.tables.unbonding(self.address if address is None else address)

    def records(self, address: bytes | None = None, first: int = 0) -> Iterator[Record]:
        while page := self.page(address, first, _PAGE):
            yield from page
            first = page[-1].number + 1

    def page(self, address: bytes | None, first: int, limit: int) -> list[Record]:
        """The first `limit` of `records`."""
        with self.reading() as book:
            return book.page(address, first, limit)

    # --- writing -----------------------------------------------------------------------------------------------------

    def submit(self, order: SignedOrder) -> Record:
        with self._writer.using() as book, book.transaction():
            return book.append(order, self._time_ms(), self._keeper.sign_hash)

    @contextmanager
    def reading(self) -> Iterator[Book]:
        """The book itself, which is this thread's until the end. Raises PeerUnreachable if the file fails."""
        with self._reader.using() as book:
            yield book

    def _time_ms(self) -> int:
        return int(self._clock() * 1000)

    # --- a new ledger ------------------------------------------------------------------------------------------------

    def _found(self, book: Book, rules: Rules, arbiter: bytes | None) -> tuple[Identity, Terms]:
        """Write the first entry, if nobody has; returns the keeper's key, and what that entry fixes."""
        with book.transaction():
            book.create()
            terms = book.terms
            if terms is None or self._path is None:
                keeper, nonce = self._new_keeper(), os.urandom(32)
                values = (nonce, arbiter or self.address, keeper.address, *astuple(rules))
                genesis = new_order(ledger_id(self.address, nonce), "genesis", *values).sign(self._identity)
                book.append(genesis, self._time_ms(), keeper.sign_hash)
                return keeper, Terms.of(genesis)
        return _old_keeper(self._path, terms.keeper), terms

    def _new_keeper(self) -> Identity:
        """On disk before the entry that names it."""
        return Identity.load_or_create(keeper_file(self._path)) if self._path else Identity()


class _OpenBook:
    """One connection to the book in a file. Safe to use from several threads."""

    def __init__(self, path: Path | None, is_first: bool = False):
        """path: None for a book in memory. is_first: it makes the file if there is none, and says in the log when that
        fails."""
        self._where, self._lock, self._is_shut = path or "memory", RLock(), False
        meanwhile = "what is asked of it is refused until then"
        self._condition = Condition(LAYOUT.what, path, meanwhile=meanwhile) if path and is_first else None
        self._ledger: bytes | None = None  # its id, once that was seen
        with self._translated():
            self._file = FileConnection(
                path, LAYOUT, busy_s=BUSY_S, makes=is_first, creates=False, check=self._check_same
            )
            self._book = Book(self._file.get())

    @contextmanager
    def using(self) -> Iterator[Book]:
        """The book, which is this thread's until the end. Raises PeerUnreachable if the file fails, also inside."""
        with self._lock, self._translated():
            if self._is_shut:
                raise PeerUnreachable(f"the ledger in {self._where} was closed here")
            if (database := self._file.get()) is not self._book.database:
                self._book = Book(database)
            yield self._book
            if self._ledger is None and self._book.terms:
                self._ledger = self._book.terms.id

    def shut(self) -> None:
        """Let go of the file, for good: a thread that was given up would take it up again."""
        with self._lock:
            self._is_shut = True
            self._file.close()

    def _check_same(self, database: sqlite3.Connection) -> None:
        terms = Book(database).terms
        if self._ledger and (terms is None or terms.id != self._ledger):
            raise DiskTrouble("it is another ledger than it was; put that one back")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, DiskTrouble) as error:
            if isinstance(error, sqlite3.Error) and hasattr(self, "_file"):
                self._file.failed(error)
            if self._condition:
                self._condition.failed(str(error))
            raise PeerUnreachable(f"the ledger in {self._where} cannot be used: {error}") from error
        else:
            if self._condition:
                self._condition.written(is_all=True)


def _old_keeper(path: Path, address: bytes) -> Identity:
    file = keeper_file(path)
    if not file.exists() or (keeper := Identity.load_or_create(file)).address != address:
        raise SwarmError(
            f"{file} is not there, or not the key of {format_address(address)}, who signs the entries of the ledger in "
            f"{path}; put it back from where it was moved or backed up"
        )
    return keeper


def keeper_file(path: Path) -> Path:
    """Where the key is that signs the entries of the ledger at `path`."""
    return path.with_name(path.name + ".key")


def connect_to_read(path: Path) -> sqlite3.Connection:
    """To the ledger in a file, which stays as it is. Raises SwarmError."""
    return read_database(path, LAYOUT)
