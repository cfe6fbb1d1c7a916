"""A ledger on another machine, through its service (`python -m swarm ledger serve`).

What the service says of entries is signed, by who ordered them and by the ledger's keeper, and is checked here. What it
says of balances and channels is its word, through a connection that nobody else can be at the end of; an audit compares
it with the entries.
"""

import logging
from collections.abc import Iterator
from threading import Lock

import grpc

from swarm import clock
from swarm.clock import difference
from swarm.errors import InvalidRequest, PeerBusy, PeerUnreachable, from_wire
from swarm.market.ledger.bookkeeping.orders import SignedOrder
from swarm.market.ledger.bookkeeping.records import Record
from swarm.market.ledger.bookkeeping.rules import Terms
from swarm.market.ledger.ledger import Account, Channel, Supply
from swarm.market.ledger.ordered import OrderedLedger
from swarm.market.service import ledger_pb2 as pb
from swarm.market.service.transport import (
    ACCOUNT,
    CHANNELS,
    ENTRIES,
    METHODS,
    SERVICE,
    STATE,
    SUBMIT,
    Answer,
    LedgerAddress,
    Method,
    Query,
    connect,
)
from swarm.wire.identity import Identity
from swarm.wire.transport import in_plain_words

logger = logging.getLogger(__name__)

TIMEOUT_S = 40.0  # longer than the service waits for other processes that write
_SAID_S = 60.0  # that its clock is off, at least, to be worth a line


class RemoteLedger(OrderedLedger):
    """See Ledger. Safe to use from several threads."""

    def __init__(self, address: LedgerAddress, identity: Identity):
        """Connect. Raises PeerUnreachable, and InvalidRequest if it is another ledger or none."""
        super().__init__(identity)
        self.where = address
        self._channel = connect(address)
        self._methods = {
            name: self._channel.unary_unary(f"/{SERVICE}/{name}", one.query.SerializeToString, one.answer.FromString)
            for name, one in METHODS.items()
        }
        self._has_said_so = False  # that its clock is off
        self._lock, self._head = Lock(), (-1, b"")  # number and hash of the latest entry that was seen
        first = self._first()
        self._set_terms(Terms.of(first.order))
        self._checked(first.encode())

    def shut(self) -> None:
        """Close the connection."""
        self._channel.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        now_s = self._state().now_s
        self._compare_clocks(now_s)
        return now_s

    def supply(self) -> Supply:
        state = self._state()
        return Supply(state.minted, state.burned)

    def account(self, address: bytes | None = None) -> Account:
        found = self._account(address)
        return Account(found.available, found.escrowed, found.staked, found.unbonding)

    def unbonding(self, address: bytes | None = None) -> list[tuple[int, int]]:
        return [(part.amount, part.release_s) for part in self._account(address).parts]

    def channel(self, channel: bytes) -> Channel | None:
        found = self._call(CHANNELS, pb.ChannelsQuery(id=channel)).channels
        return _channel(found[0]) if found else None

    def channels(self, payer: bytes | None = None, payee: bytes | None = None) -> list[Channel]:
        found: list[Channel] = []
        while page := self._call(CHANNELS, pb.ChannelsQuery(payer=payer, payee=payee, first=len(found))).channels:
            found += map(_channel, page)
        return found

    def records(self, address: bytes | None = None, first: int = 0) -> Iterator[Record]:
        while page := self._call(ENTRIES, pb.EntriesQuery(address=address, first=first)).entries:
            for data in page:
                record = self._checked(data)
                if record.number < first:
                    raise InvalidRequest(f"the ledger at {self.where} gives entry {record.number} out of turn")
                first = record.number + 1
                yield record

    # --- writing -----------------------------------------------------------------------------------------------------

    def submit(self, order: SignedOrder) -> Record:
        before = self._head  # other threads submit, too, and may hear of later entries earlier
        entries = self._call(SUBMIT, pb.Order(order=order.encode())).entries
        record = self._checked(entries[0] if entries else b"")
        if record.order != order:
            raise InvalidRequest(f"the ledger at {self.where} answers with another order than it was given")
        self._saw(record, before)
        return record

    def _compare_clocks(self, now_s: int) -> None:
        """Whoever asks for its time had better know, once, that it is another than his own."""
        ahead_s = now_s - clock.now_s()
        if abs(ahead_s) >= _SAID_S and not self._has_said_so:
            self._has_said_so = True
            how = f"{difference(ahead_s)} {'ahead of' if ahead_s > 0 else 'behind'} this process's"
            logger.warning("the clock of the ledger at %s is %s; its delays and epochs go by it", self.where, how)

    def _state(self) -> pb.State:
        before = self._head
        state = self._call(STATE, pb.StateQuery())
        self._saw(self._checked(state.head), before)
        return state

    def _account(self, address: bytes | None) -> pb.Account:
        return self._call(ACCOUNT, pb.AccountQuery(address=self.address if address is None else address))

    def _call(self, method: Method[Query, Answer], query: Query) -> Answer:
        try:
            answer: Answer = self._methods[method.name](query, timeout=TIMEOUT_S)
            return answer
        except grpc.RpcError as error:
            raise _error(error, self.where) from error

    # --- what the keeper has signed ----------------------------------------------------------------------------------

    def _first(self) -> Record:
        entries = self._call(ENTRIES, pb.EntriesQuery()).entries
        return Record.decode(entries[0] if entries else b"")

    def _checked(self, data: bytes) -> Record:
        """The entry in `data`. Raises InvalidRequest if the keeper did not sign it, or for another ledger."""
        record = Record.decode(data)
        if record.order.order.ledger != self.id or record.keeper != self.keeper:
            raise InvalidRequest(f"the ledger at {self.where} gives an entry that its keeper has not signed")
        return record

    def _saw(self, record: Record, before: tuple[int, bytes]) -> None:
        """Raises InvalidRequest if the ledger went back behind what was the latest entry before it was asked."""
        number, hash = before
        if record.number < number or (record.number == number and record.hash != hash):
            raise InvalidRequest(f"the ledger at {self.where} has another history than before, from entry {number} on")
        with self._lock:
            self._head = max(self._head, (record.number, record.hash))


def _channel(found: pb.Channel) -> Channel:
    return Channel(
        found.id, found.payer, found.payee, found.deposit, found.paid, found.closes_at, found.is_closed
    )  # fmt: skip


def _error(error: grpc.RpcError, where: LedgerAddress) -> Exception:
    """What the service raised, or that it did not answer."""
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.FAILED_PRECONDITION:
        name, _, text = details.partition(": ")
        return from_wire(name, text)
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return PeerBusy(f"the ledger at {where} has too much to do: {in_plain_words(details)}")
    return PeerUnreachable(f"the ledger at {where} does not answer: {in_plain_words(details)}")
