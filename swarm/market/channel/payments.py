"""How a session says that it will be paid: the payer's signature over what it opened, and at which price."""

import hashlib
import struct

from swarm.errors import InvalidRequest
from swarm.market.channel.vouchers import CHANNEL_ID_BYTES
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import format_credits
from swarm.wire.formats.quotes import MAX_PRICE, Price, Quote
from swarm.wire.identity import Identity, address_of, signer_of

_DOMAIN = b"swarm/payment/v1"
_FIXED = struct.Struct(">16s20sIIQ32s32sQ?QQ32s")


def authorise(request: pb.Open, payee: bytes, identity: Identity) -> None:
    """Sign the payment in `request`, whose other fields are final. payee: address of the peer that it is for.

    Without this, whoever reads a channel's id in the ledger could have work done at its payer's expense.
    """
    request.payment.signature = identity.sign(_DOMAIN, _statement(request, payee))


def payer_of(request: pb.Open, payee: bytes) -> bytes:
    """Address of who authorised the payment in `request`, which is untrusted. Raises InvalidRequest."""
    if len(request.payment.channel) != CHANNEL_ID_BYTES or len(request.quote) not in (0, 32):
        raise InvalidRequest(f"a payment out of a channel whose id has {len(request.payment.channel)} bytes, not 32")
    return address_of(signer_of(_DOMAIN, _statement(request, payee), request.payment.signature))


def agreed_price(payment: pb.Payment, quote: Quote) -> Price:
    """The price of a session that is opened at `quote` with `payment`, its priority fee included: with an offer, the
    price that the payment names. Raises InvalidRequest."""
    priority_fee = payment.bid  # as the wire has it
    if max(priority_fee, payment.prefill, payment.decode) > MAX_PRICE:
        raise InvalidRequest(
            f"a priority fee or a price of more than {format_credits(MAX_PRICE)} for a token through a block"
        )
    if payment.offer:
        return Price(payment.prefill, payment.decode).plus(priority_fee)
    return (quote.idle_price if payment.batch else quote.price).plus(priority_fee)


def _statement(request: pb.Open, payee: bytes) -> bytes:
    payment = request.payment
    return _FIXED.pack(
        request.session_id, payee, request.start, request.stop, request.seq, request.quote, payment.channel,
        payment.bid, payment.batch, payment.prefill, payment.decode, hashlib.sha256(payment.offer).digest(),
    )  # fmt: skip
