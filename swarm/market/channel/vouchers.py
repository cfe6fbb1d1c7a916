"""Vouchers: what a client signs, again and again, to pay one server out of one channel.

A voucher is cumulative: it replaces all before it on the same channel. It names ledger and channel, so it is worth
nothing anywhere else. The shape is that of x402's batch settlement (https://github.com/coinbase/x402): a cumulative
claim against an escrow, with a delay for withdrawing. Signed as EIP-712 typed data: a contract checks it as it is.
"""

from dataclasses import dataclass
from functools import cached_property

from swarm.errors import InvalidRequest
from swarm.wire.formats.amounts import MAX_AMOUNT, format_amount, format_credits
from swarm.wire.formats.signed import Bytes32, Format, UInt256
from swarm.wire.identity import Identity, address_of

CHANNEL_ID_BYTES = 32


@dataclass(frozen=True)
class Voucher:
    """The payer owes the channel's payee `amount` nano-credits in all since the channel was opened."""

    ledger: Bytes32  # its id
    channel: Bytes32  # its id
    amount: UInt256
    receipt: Bytes32  # hash of the payee's latest receipt that the payer has; zeros if it has none

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return VOUCHER.hash(self)

    def sign(self, identity: Identity) -> "SignedVoucher":
        return SignedVoucher(self, VOUCHER.sign(self, identity), identity.address)


VOUCHER = Format(Voucher, "a voucher")
VOUCHER_BYTES = VOUCHER.max_bytes


@dataclass(frozen=True)
class SignedVoucher:
    """A voucher with a signature that has been checked: made by `Voucher.sign` and `decode` only."""

    voucher: Voucher
    signature: bytes
    signer: bytes  # 20-byte address of who signed it, who need not be the channel's payer

    def encode(self) -> bytes:
        return VOUCHER.encode(self.voucher, self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "SignedVoucher":
        """The voucher in `data`, which is untrusted. Raises InvalidRequest if it is malformed."""
        voucher, signature = VOUCHER.decode(data)
        if voucher.amount > MAX_AMOUNT:
            raise InvalidRequest(
                f"a voucher over {format_credits(voucher.amount)}; at most {format_amount(MAX_AMOUNT)} exist"
            )
        return cls(voucher, signature, address_of(VOUCHER.signer(voucher, signature)))
