"""Records: the entries of a ledger as its keeper signs them, each with the order that it carries out.

Every record has the hash of the one before it in its own, so the keeper's signature on one vouches for all up to there.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property

from swarm.errors import InvalidRequest
from swarm.market.channel.vouchers import VOUCHER_BYTES
from swarm.market.ledger.bookkeeping.orders import MAX_ORDER_BYTES, Order, SignedOrder
from swarm.market.ledger.ids import channel_id
from swarm.market.ledger.ledger import Account, Entry, Posting
from swarm.wire.formats.eip712 import Struct
from swarm.wire.identity import SIGNATURE_BYTES, address_of, signer_of_hash

BUCKETS = (*(field.name for field in fields(Account)), "minted", "burned")
_TYPE = Struct(
    "Entry", ("bytes32", "ledger"), ("uint64", "number"), ("uint64", "timeMs"), ("bytes", "order"),
    ("bytes", "postings"), ("bytes32", "previous"),
)  # fmt: skip
_FIXED = struct.Struct(">QQII32s")  # number, time, lengths of order and postings, previous; then these, and signature
_POSTING = struct.Struct(">20sBq")
MAX_RECORD_BYTES = 4 * MAX_ORDER_BYTES  # postings of a settlement are shorter than its vouchers; of payments, longer


@dataclass(frozen=True)
class Record:
    """One entry of the book."""

    number: int
    time_ms: int
    order: SignedOrder
    postings: tuple[Posting, ...]
    previous: bytes  # hash of the record before; zeros before the first
    signature: bytes = b""  # the keeper's, over `hash`

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that the keeper signs."""
        order, postings = self.order.encode(), pack_postings(self.postings)
        return _TYPE.hash((self.order.order.ledger, self.number, self.time_ms, order, postings, self.previous))

    @cached_property
    def keeper(self) -> bytes:
        """Address of who signed it. Raises InvalidRequest if the signature is malformed."""
        return address_of(signer_of_hash(self.hash, self.signature))

    @property
    def entry(self) -> Entry:
        order = self.order.order
        return Entry(
            self.number, self.time_ms, order.kind, self.order.signer, _details(order, self.order.signer),
            self.postings, self.hash,
        )  # fmt: skip

    def encode(self) -> bytes:
        order, postings = self.order.encode(), pack_postings(self.postings)
        header = _FIXED.pack(self.number, self.time_ms, len(order), len(postings), self.previous)
        return header + order + postings + self.signature

    @classmethod
    def decode(cls, data: bytes) -> "Record":
        """The record in `data`, which is untrusted; who signed it, `keeper` tells. Raises InvalidRequest."""
        if not _FIXED.size <= len(data) <= MAX_RECORD_BYTES:
            raise InvalidRequest(f"an entry of {len(data)} bytes; at most {MAX_RECORD_BYTES}")
        number, time_ms, order_bytes, posting_bytes, previous = _FIXED.unpack_from(data)
        first = _FIXED.size + order_bytes
        last = first + posting_bytes
        if len(data) - last != SIGNATURE_BYTES or posting_bytes % _POSTING.size:
            raise InvalidRequest("an entry whose parts do not fill its length")
        order = SignedOrder.decode(data[_FIXED.size : first])
        return cls(number, time_ms, order, _unpack_postings(data[first:last]), previous, data[last:])


def pack_postings(postings: Iterable[Posting]) -> bytes:
    return b"".join(_POSTING.pack(line.address, BUCKETS.index(line.bucket), line.amount) for line in postings)


def _unpack_postings(data: bytes) -> tuple[Posting, ...]:
    lines = list(_POSTING.iter_unpack(data))
    if any(bucket >= len(BUCKETS) for _, bucket, _ in lines):
        raise InvalidRequest("an entry with a bucket that this software does not know")
    return tuple(Posting(address, BUCKETS[bucket], amount) for address, bucket, amount in lines)


def _details(order: Order, signer: bytes) -> dict[str, object]:
    details: dict[str, object] = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in order.arguments.items()
    }
    match order.kind, order.values:
        case "open_channel", (bytes(payee), _, bytes(salt)):
            details["channel"] = channel_id(order.ledger, signer, payee, salt).hex()
        case "settle", (bytes(data),):
            details["vouchers"] = [data[at : at + VOUCHER_BYTES].hex() for at in range(0, len(data), VOUCHER_BYTES)]
    return details
