"""Vouchers: what a client signs, again and again, to pay one server out of one channel.

A voucher is cumulative: it replaces all before it on the same channel. It names ledger and channel, so it is worth
nothing anywhere else. The shape is that of x402's batch settlement (https://github.com/coinbase/x402): a cumulative
claim against an escrow, with a delay for withdrawing. Signed as EIP-712 typed data: a contract checks it as it is.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

from swarm.errors import InvalidRequest
from swarm.wire.formats.amounts import MAX_AMOUNT
from swarm.wire.formats.eip712 import Struct
from swarm.wire.identity import SIGNATURE_BYTES, Identity, address_of, signer_of_hash

CHANNEL_ID_BYTES = 32
TYPE = Struct(
    "Voucher", ("bytes32", "ledger"), ("bytes32", "channel"), ("uint256", "amount"), ("bytes32", "receipt")
)  # fmt: skip
_FIXED = struct.Struct(">32s32sQ32s")
VOUCHER_BYTES = _FIXED.size + SIGNATURE_BYTES


@dataclass(frozen=True)
class Voucher:
    """The payer owes the channel's payee `amount` nano-credits in all since the channel was opened."""

    ledger: bytes  # its id, 32 bytes
    channel: bytes  # its id, 32 bytes
    amount: int
    receipt: bytes  # hash of the payee's latest receipt that the payer has, 32 bytes; zeros if it has none

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return TYPE.hash((self.ledger, self.channel, self.amount, self.receipt))

    def sign(self, identity: Identity) -> "SignedVoucher":
        return SignedVoucher(self, identity.sign_hash(self.hash), identity.address)


@dataclass(frozen=True)
class SignedVoucher:
    """A voucher with a signature that has been checked: made by `Voucher.sign` and `decode` only."""

    voucher: Voucher
    signature: bytes
    signer: bytes  # 20-byte address of who signed it, who need not be the channel's payer

    def encode(self) -> bytes:
        v = self.voucher
        return _FIXED.pack(v.ledger, v.channel, v.amount, v.receipt) + self.signature

    @classmethod
    def decode(cls, data: bytes) -> "SignedVoucher":
        """The voucher in `data`, which is untrusted. Raises InvalidRequest if it is malformed."""
        if len(data) != VOUCHER_BYTES:
            raise InvalidRequest(f"a voucher has {VOUCHER_BYTES} bytes, and not {len(data)}")
        ledger, channel, amount, receipt = _FIXED.unpack_from(data)
        if amount > MAX_AMOUNT:
            raise InvalidRequest(f"a voucher over {amount} nano-credits; at most {MAX_AMOUNT} exist")
        voucher, signature = Voucher(ledger, channel, amount, receipt), data[_FIXED.size :]
        return cls(voucher, signature, address_of(signer_of_hash(voucher.hash, signature)))
