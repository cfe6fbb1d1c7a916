"""What was billed and paid, on disk: a server's vouchers are its money until they are settled, and bills on either side
say for which work every nano-credit went."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from swarm.clock import now_ms
from swarm.errors import DiskTrouble
from swarm.market.channel.acknowledgements import SignedAcknowledgement
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ledger import Channel
from swarm.storage.database import Layout
from swarm.storage.writer import Writer
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import Tokens

_LAYOUT = Layout(
    "payments",
    """
    CREATE TABLE IF NOT EXISTS vouchers (channel BLOB PRIMARY KEY, ledger BLOB, data BLOB) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS acknowledgements (
        session BLOB, start INTEGER, attempt INTEGER, ledger BLOB, block_tokens INTEGER, data BLOB,
        PRIMARY KEY (session, start, attempt)
    );
    CREATE TABLE IF NOT EXISTS bills (
        time_ms INTEGER, ledger BLOB, channel BLOB, session BLOB, attempt INTEGER, payer BLOB, payee BLOB,
        start INTEGER, stop INTEGER, prefill_tokens INTEGER, decode_tokens INTEGER, prefill_price INTEGER,
        decode_price INTEGER, amount INTEGER, receipt BLOB
    );
    CREATE INDEX IF NOT EXISTS bills_by_channel ON bills (channel);
    """,
)


@dataclass(frozen=True)
class Bill:
    """One hop's work for one session, and what was paid for it."""

    time_ms: int
    ledger: bytes  # its id
    channel: bytes
    session: bytes
    attempt: int
    payer: bytes  # addresses
    payee: bytes
    start: int  # first block
    stop: int  # one past the last
    prefill_tokens: int
    decode_tokens: int
    prefill_price: int  # nano-credits per block-token
    decode_price: int
    amount: int  # nano-credits
    receipt: bytes  # hash of the last receipt, which names those before it

    @classmethod
    def of(
        cls,
        ledger: bytes,
        channel: Channel,
        opening: tuple[bytes, int, int, int],
        tokens: Tokens,
        price: Price,
        receipt: bytes,
    ) -> "Bill":
        """Of now. opening: session, attempt, first block, one past the last."""
        session, attempt, start, stop = opening
        return cls(
            now_ms(), ledger, channel.id, session, attempt, channel.payer, channel.payee, start, stop,
            *tokens, *price, price.due(stop - start, *tokens), receipt,
        )  # fmt: skip

    @property
    def price(self) -> Price:
        return Price(self.prefill_price, self.decode_price)

    @property
    def block_tokens(self) -> int:
        return (self.stop - self.start) * (self.prefill_tokens + self.decode_tokens)


class PaymentStore:
    """A SQLite file that several processes may share. What is kept is written in a thread; what the disk does not take
    waits in memory until it does, and counts as kept. What is read may wait for the disk, and raises DiskTrouble."""

    def __init__(self, path: Path, reads_only: bool = False):
        """reads_only: see Writer. Raises SwarmError if `path` cannot be used."""
        self._lock = threading.Lock()
        self._newest: dict[bytes, SignedVoucher] = {}  # by channel, of those that were kept or read here
        self._unwritten: dict[bytes, SignedVoucher | None] = {}  # by channel; None: it is to be forgotten
        self._writer = Writer(path, _LAYOUT, reads_only=reads_only)

    def trouble(self) -> str:
        """Why nothing new should be paid for now: the disk does not take it; empty: it does."""
        return self._writer.trouble()

    def keep(self, signed: SignedVoucher) -> None:
        """In the place of those before it on its channel."""
        voucher = signed.voucher
        row = voucher.channel, voucher.ledger, signed.encode()
        self._put(voucher.channel, signed, "REPLACE INTO vouchers VALUES (?, ?, ?)", *row)

    def voucher(self, channel: bytes) -> SignedVoucher | None:
        """The newest of a channel."""
        with self._lock:
            if channel in self._unwritten:
                return self._unwritten[channel]
        rows = self._select("SELECT data FROM vouchers WHERE channel = ?", channel)
        return self._read(channel, rows[0][0]) if rows else None

    def vouchers(self, ledger: bytes) -> list[SignedVoucher]:
        """The newest of every channel of a ledger that is not forgotten; of a disk that gives nothing, those that wait
        for it, if any do."""
        with self._lock:
            unwritten = dict(self._unwritten)
        try:
            rows = self._select("SELECT channel, data FROM vouchers WHERE ledger = ? ORDER BY channel", ledger)
        except DiskTrouble:
            if not unwritten:
                raise
            rows = []
        kept = {channel: self._read(channel, data) for channel, data in rows if channel not in unwritten}
        kept |= {channel: one for channel, one in unwritten.items() if one and one.voucher.ledger == ledger}
        return [one for _, one in sorted(kept.items())]

    def forget(self, channel: bytes) -> None:
        """Its channel is closed: nothing can be had for it any more."""
        self._put(channel, None, "DELETE FROM vouchers WHERE channel = ?", channel)

    def keep_acknowledgement(self, signed: SignedAcknowledgement) -> None:
        """In the place of one before it for the same work."""
        one = signed.acknowledgement
        # SQLite's integers are signed.
        row = one.session, one.start, one.attempt - 2**63, one.ledger, one.block_tokens, signed.encode()
        statement = "REPLACE INTO acknowledgements VALUES (?, ?, ?, ?, ?, ?)"
        self._writer.put(
            lambda database: database.execute(statement, row),
            key=("acknowledged", *row[:3]),
            what="acknowledgement",
        )

    def acknowledgements(self, ledger: bytes, since: bytes, until: bytes, limit: int) -> list[SignedAcknowledgement]:
        """Those that are worth most. Raises DiskTrouble, also while some of them are not on disk.

        since: of sessions whose ids are not below it; those before are forgotten. until: of those below it.
        """
        old = "DELETE FROM acknowledgements WHERE session < ?"
        self._writer.put(lambda database: database.execute(old, (since,)), key="old", what="deletion")
        if not self._writer.flush():
            raise DiskTrouble(self.trouble() or "its disk is too slow")
        rows = self._select(
            "SELECT data FROM acknowledgements WHERE ledger = ? AND session >= ? AND session < ? "
            "ORDER BY block_tokens DESC LIMIT ?", ledger, since, until, limit,
        )  # fmt: skip
        return [SignedAcknowledgement.decode(data) for (data,) in rows]

    def forget_acknowledgements(self, claimed: Iterable[SignedAcknowledgement]) -> None:
        """They are in a claim; what came in their place since is not."""
        rows = [(signed.acknowledgement.session, signed.encode()) for signed in claimed]
        statement = "DELETE FROM acknowledgements WHERE session = ? AND data = ?"
        self._writer.put(lambda database: database.executemany(statement, rows), what="deletion")

    def bill(self, bill: Bill) -> None:
        marks = ", ".join("?" * len(fields(Bill)))
        statement = f"INSERT INTO bills VALUES ({marks})"
        self._writer.put(lambda database: database.execute(statement, astuple(bill)), what="bill")

    def bills(self, since_s: float = 0.0) -> Iterator[Bill]:
        """In the order in which they were written. since_s: Unix time."""
        self._writer.flush()
        for row in self._select("SELECT * FROM bills WHERE time_ms >= ? ORDER BY rowid", int(since_s * 1000)):
            yield Bill(*row)

    def flush(self) -> bool:
        """Wait until what was kept is on disk, but not for one that fails; whether it is."""
        return self._writer.flush()

    def close(self) -> None:
        """Write what waits, and let go of the file. Waits, but not for long for a disk that takes nothing."""
        self._writer.close()

    def _put(self, channel: bytes, signed: SignedVoucher | None, statement: str, *values: bytes) -> None:
        """What becomes of a channel's voucher."""

        def write(database: sqlite3.Connection) -> None:
            database.execute(statement, values)

        def written() -> None:
            with self._lock:
                if self._unwritten.get(channel, b"") is signed:  # else there is news
                    del self._unwritten[channel]

        with self._lock:  # so that they are written in the order in which they came
            self._unwritten[channel] = signed
            if signed:
                self._newest[channel] = signed
            else:
                self._newest.pop(channel, None)
            what = "voucher" if signed else "closed channel"
            self._writer.put(write, key=("voucher", channel), written=written, what=what)

    def _read(self, channel: bytes, data: bytes) -> SignedVoucher:
        """A signature is checked once, however often its voucher is read; another process may have kept a newer one."""
        known = self._newest.get(channel)
        if known is None or known.encode() != data:
            known = self._newest[channel] = SignedVoucher.decode(data)
        return known

    def _select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._writer.reading() as database:
            return database.execute(statement, values).fetchall()
