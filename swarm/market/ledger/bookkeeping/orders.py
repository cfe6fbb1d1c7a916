"""Orders: what an account holder signs to have something done in a ledger. One kind for each operation of `Ledger`.

Signed as EIP-712 typed data, a type of structure for every kind, so that a wallet shows what is asked for. An order
names its ledger and has a salt, and a ledger does each order once.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from swarm.errors import InvalidRequest
from swarm.market.channel.vouchers import VOUCHER_BYTES, SignedVoucher
from swarm.wire.formats.amounts import check_amount
from swarm.wire.formats.eip712 import Struct, Value
from swarm.wire.formats.signed import Layout
from swarm.wire.identity import ADDRESS_BYTES, SIGNATURE_BYTES, Identity, address_of, signer_of_hash

VERSION = 1
SALT_BYTES = 16
MAX_ORDER_BYTES = 128 * 1024

_CHANNEL, _AMOUNT, _EPOCH = ("bytes32", "channel"), ("uint64", "amount"), ("uint64", "epoch")
# Kinds and their arguments, (type, name). A kind travels as its place in this list: add at the end.
KINDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "genesis": (
        ("bytes32", "nonce"), ("address", "arbiter"), ("address", "keeper"), ("uint64", "withdrawDelay"),
        ("uint64", "unbonding"), ("uint64", "reporterPpm"), ("uint64", "burnPpm"),
    ),
    "mint": (("address", "to"), _AMOUNT),
    "burn": (_AMOUNT,),
    "transfer": (("address", "to"), _AMOUNT),
    "open_channel": (("address", "payee"), _AMOUNT, ("bytes32", "channelSalt")),
    "top_up": (_CHANNEL, _AMOUNT),
    "settle": (("bytes", "vouchers"),),
    "release": (_CHANNEL,),
    "request_close": (_CHANNEL,),
    "close": (_CHANNEL,),
    "bond": (_AMOUNT,),
    "unbond": (_AMOUNT,),
    "withdraw": (),
    "slash_equivocation": (("bytes", "first"), ("bytes", "second")),
    "slash": (("address", "offender"), _AMOUNT, ("address", "reporter"), ("bytes32", "evidence")),
    "commit": (_EPOCH, ("bytes32", "digest")),
    "reveal": (_EPOCH, ("bytes", "payload")),
    "end_commits": (_EPOCH,),
    "emit": (_EPOCH, ("bytes", "payments")),
}  # fmt: skip
_NAMES = list(KINDS)
_LAYOUTS = {
    kind: Layout(
        "an order",
        Struct(kind.title().replace("_", ""), ("bytes32", "ledger"), *members, ("bytes16", "salt")),
        head=bytes([VERSION, code]),
        first=("ledger", "salt"),
    )
    for code, (kind, members) in enumerate(KINDS.items())
}
_LENGTHS = {"address": ADDRESS_BYTES, "bytes32": 32}
_PAYMENT = struct.Struct(">20sQ")


@dataclass(frozen=True)
class Order:
    """values: the arguments, as KINDS has them. Raises InvalidRequest if they are not what it says there."""

    ledger: bytes  # its id, 32 bytes
    kind: str
    values: tuple[Value, ...]
    salt: bytes

    def __post_init__(self) -> None:
        for (kind, name), value in zip(KINDS[self.kind], self.values, strict=True):
            _check(kind, name, value)

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed, by which a ledger knows an order again."""
        return _LAYOUTS[self.kind].type.hash((self.ledger, *self.values, self.salt))

    @property
    def arguments(self) -> dict[str, Value]:
        """By name."""
        return {name: value for (_, name), value in zip(KINDS[self.kind], self.values, strict=True)}

    def sign(self, identity: Identity) -> "SignedOrder":
        """Raises InvalidRequest if it is too long for any ledger."""
        signed = SignedOrder(self, identity.sign_hash(self.hash), identity.address)
        _check_length(len(signed.encode()))
        return signed


@dataclass(frozen=True)
class SignedOrder:
    """An order with a signature that has been checked: made by `Order.sign` and `decode` only."""

    order: Order
    signature: bytes
    signer: bytes  # 20-byte address: in whose name

    def encode(self) -> bytes:
        """The canonical bytes: `decode` accepts these and no others for this order."""
        order = self.order
        return _LAYOUTS[order.kind].pack((order.ledger, *order.values, order.salt)) + self.signature

    @classmethod
    def decode(cls, data: bytes) -> "SignedOrder":
        """The order in `data`, which is untrusted. Raises InvalidRequest if it is malformed."""
        _check_length(len(data))
        version, code = data[:2]
        if version != VERSION or code >= len(_NAMES):
            raise InvalidRequest(f"an order of version {version} and kind {code}; this software does not know it")
        (ledger, *values, salt), signature = _LAYOUTS[_NAMES[code]].unpack(data)
        order = Order(ledger, _NAMES[code], tuple(values), salt)
        return cls(order, signature, address_of(signer_of_hash(order.hash, signature)))


def new_order(ledger: bytes, kind: str, *values: Value) -> Order:
    """With a salt of its own. Raises InvalidRequest like `Order`."""
    return Order(ledger, kind, values, os.urandom(SALT_BYTES))


# --- arguments that are lists ----------------------------------------------------------------------------------------


def pack_vouchers(vouchers: Sequence[SignedVoucher]) -> bytes:
    return b"".join(voucher.encode() for voucher in vouchers)


def unpack_vouchers(data: bytes) -> list[SignedVoucher]:
    """Raises InvalidRequest if there is none, or one is malformed."""
    if not data:
        raise InvalidRequest("no vouchers to settle")
    return [SignedVoucher.decode(data[at : at + VOUCHER_BYTES]) for at in range(0, len(data), VOUCHER_BYTES)]


def pack_payments(payments: Mapping[bytes, int]) -> bytes:
    """payments: nano-credits by address. Raises InvalidRequest."""
    for address, amount in payments.items():
        _check("address", "to", address)
        check_amount(amount)
    return b"".join(_PAYMENT.pack(*payment) for payment in sorted(payments.items()))


def unpack_payments(data: bytes) -> dict[bytes, int]:
    """Raises InvalidRequest if they are not as `pack_payments` writes them."""
    if len(data) % _PAYMENT.size:
        raise InvalidRequest(f"payments of {len(data)} bytes; each has {_PAYMENT.size}")
    payments = list(_PAYMENT.iter_unpack(data))
    if any(first[0] >= second[0] for first, second in pairwise(payments)):
        raise InvalidRequest("payments that are not in the order of their addresses, or two to one")
    return {address: check_amount(amount) for address, amount in payments}


# --- bytes -----------------------------------------------------------------------------------------------------------


def _check(kind: str, name: str, value: Value) -> None:
    if kind == "uint64":
        check_amount(value)
    elif not isinstance(value, bytes) or len(value) != _LENGTHS.get(kind, len(value)):
        raise InvalidRequest(f"{name} is {kind}, and not {value!r:.60}")


def _check_length(length: int) -> None:
    if not 2 + SIGNATURE_BYTES <= length <= MAX_ORDER_BYTES:
        raise InvalidRequest(f"an order of {length} bytes; at most {MAX_ORDER_BYTES}, so make several of it")
