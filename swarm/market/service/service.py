"""What a ledger's service answers. Everybody may ask everything, and orders are signed: there is no log-in.

Requests are hostile: their size is bounded by gRPC, their number by an allowance for every address that they come from.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from swarm.errors import InvalidRequest, PeerBusy, SwarmError
from swarm.market.ledger.bookkeeping.orders import SignedOrder
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.service import ledger_pb2 as pb
from swarm.market.service.transport import MAX_REQUEST_BYTES, METHODS, SERVICE
from swarm.wire.formats.amounts import MAX_AMOUNT
from swarm.wire.grpc_forks import use_grpc
from swarm.wire.hosts import join_address
from swarm.wire.identity import ADDRESS_BYTES
from swarm.wire.rate_limit import Allowance
from swarm.wire.tls import Certificate
from swarm.wire.transport import check_port_free

logger = logging.getLogger(__name__)

THREADS = 8
MAX_WAITING = 256  # calls, over all users
MAX_USERS = 4_096  # whose calls are counted; of more, those heard of longest ago begin anew
_PAGE = 64  # entries, channels, reveals
_PAGE_BYTES = 1024 * 1024
_PARTS = 1_000
_TEXT_CHARS = 1_000  # of an error


@dataclass(frozen=True)
class Limits:
    """Of the calls from one IP address. Those of more than a KiB count as one for each: they take as long."""

    orders: int = 600  # also who owns nothing can make the book grow
    reads: int = 60_000
    period_s: float = 60.0


class LedgerService:
    """The methods of METHODS, on one ledger."""

    def __init__(self, ledger: SqliteLedger, limits: Limits | None = None):
        self._ledger, self._limits = ledger, limits or Limits()
        self._allowances: OrderedDict[tuple[str, bool], Allowance] = OrderedDict()
        self._lock = Lock()

    def answer(self, method: str, data: bytes, user: str) -> Message:
        """data: the query, as it came in; user: the IP address that it comes from. Raises SwarmError."""
        self._count(user, method == "Submit", 1 + len(data) // 1024)
        try:
            query = METHODS[method].query.FromString(data)
        except DecodeError as error:
            raise InvalidRequest(f"malformed query: {error}") from error
        answer: Message = getattr(self, f"_{method.lower()}")(query)
        return answer

    def _count(self, user: str, is_order: bool, calls: int) -> None:
        with self._lock:
            allowance = self._allowances.pop((user, is_order), None) or Allowance(
                self._limits.orders if is_order else self._limits.reads, self._limits.period_s
            )
            self._allowances[user, is_order] = allowance
            if len(self._allowances) > MAX_USERS:
                self._allowances.popitem(last=False)
            if not all(allowance.spend() for _ in range(calls)):
                raise PeerBusy(f"more calls from {user} than this ledger allows; try again in a minute")

    def _submit(self, query: pb.Order) -> pb.Entries:
        entry = self._ledger.submit(SignedOrder.decode(query.order))
        kind, signer = entry.order.order.kind, format_address(entry.order.signer)
        logger.info("entry %d: %s, by %s", entry.number, kind, signer, extra={"entry": entry.number, "signer": signer})
        return pb.Entries(entries=[entry.encode()])

    def _entries(self, query: pb.EntriesQuery) -> pb.Entries:
        address = _optional(query.address)
        page = self._ledger.page(address, _number(query.first), _PAGE)
        return pb.Entries(entries=_fitting(record.encode() for record in page))

    def _state(self, query: pb.StateQuery) -> pb.State:
        now_s = self._ledger.now()
        with self._ledger.reading() as book, book.snapshot():
            supply, (number, _, _) = book.tables.supply(), book.head()
            (head,) = book.page(None, number, 1)
        return pb.State(now_s=now_s, minted=supply.minted, burned=supply.burned, head=head.encode())

    def _account(self, query: pb.AccountQuery) -> pb.Account:
        address = _address(query.address)
        with self._ledger.reading() as book, book.snapshot():
            account, parts = book.tables.account(address), book.tables.unbonding(address)
        return pb.Account(
            available=account.available, escrowed=account.escrowed, staked=account.staked, unbonding=account.unbonding,
            parts=[pb.Unbonding(amount=amount, release_s=release_s) for amount, release_s in parts[:_PARTS]],
        )  # fmt: skip

    def _channels(self, query: pb.ChannelsQuery) -> pb.Channels:
        with self._ledger.reading() as book:
            if query.id:
                one = book.tables.channel(query.id)
                found = [one] if one else []
            else:
                payer, payee = _optional(query.payer), _optional(query.payee)
                found = book.tables.channels(payer, payee, _number(query.first), _PAGE)
        return pb.Channels(channels=[
            pb.Channel(id=one.id, payer=one.payer, payee=one.payee, deposit=one.deposit, paid=one.paid,
                       closes_at=one.closes_at, is_closed=one.is_closed) for one in found
        ])  # fmt: skip


def serve(service: LedgerService, host: str, port: int, certificate: Certificate) -> tuple[grpc.Server, int]:
    """Start serving; returns the server, and its port if `port` was 0. Raises AddressInUse."""
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.max_concurrent_streams", 64),
    ]
    use_grpc()
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger")
    server = grpc.server(threads, options=options, maximum_concurrent_rpcs=MAX_WAITING)
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(_handler(service, name), None, method.answer.SerializeToString)
        for name, method in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials([(certificate.private_key_pem, certificate.certificate_pem)])
    check_port_free(host, port)
    bound = server.add_secure_port(join_address(host, port), credentials)
    server.start()
    return server, bound


def _handler(service: LedgerService, method: str) -> Callable[[bytes, grpc.ServicerContext], Message]:
    """Takes the bytes as they are: what gRPC itself cannot parse, it leaves on the connection as a call for ever."""

    def handle(data: bytes, context: grpc.ServicerContext) -> Message:
        user = _host(context.peer())
        try:
            return service.answer(method, data, user)
        except SwarmError as error:
            logger.info("a call of %s (%s) is refused: %s", user, method, error, extra={"client": user})
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{type(error).__name__}: {error}"[:_TEXT_CHARS])

    return handle


def _host(peer: str) -> str:
    """ "ipv4:127.0.0.1:5000" -> "ipv4:127.0.0.1": who changes ports is still the same."""
    return peer.rpartition(":")[0]


def _fitting(items: Iterable[bytes]) -> Iterator[bytes]:
    """As many as fit into a page, and at least one."""
    room = _PAGE_BYTES
    for item in items:
        if room < len(item) and room < _PAGE_BYTES:
            return
        room -= len(item)
        yield item


def _address(data: bytes) -> bytes:
    if len(data) != ADDRESS_BYTES:
        raise InvalidRequest(f"an address has {ADDRESS_BYTES} bytes, not {len(data)}")
    return data


def _optional(data: bytes) -> bytes | None:
    return _address(data) if data else None


def _number(number: int) -> int:
    """SQLite's integers are signed."""
    if number > MAX_AMOUNT:
        raise InvalidRequest(f"there is no number {number}")
    return number
