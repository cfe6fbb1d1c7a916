"""One server that is paid, one client, and a channel between them."""

import asyncio
from dataclasses import dataclass

from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.payments import authorise
from swarm.market.channel.receivable import Tab
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.ledger import Channel
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import NOTHING
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

CLIENT, SERVER, OTHER = (Identity(bytes([number]) * 32) for number in (1, 2, 3))

RECORD = bytes([7]) * 32  # hash of the server's directory record

PRICE = Price(5, 100)


@dataclass
class Shop:
    """A server's channels, and what its client sees of the ledger."""

    ledger: SqliteLedger
    server: SqliteLedger
    channels: PayeeChannels
    store: PaymentStore

    def pay(self, channel: Channel, amount: int, by: Identity = CLIENT, ledger: bytes = b"") -> bytes:
        return Voucher(ledger or self.ledger.id, channel.id, amount, NOTHING).sign(by).encode()

    def open(self, channel: Channel, by: Identity = CLIENT, **changes: object) -> Tab:
        request = opening(channel, by)
        for name, value in changes.items():
            setattr(request, name, value)
        return asyncio.run(self.channels.open(request))

    def accept(self, tab: Tab, data: bytes) -> None:
        asyncio.run(self.channels.accept(tab, data))


def opening(channel: Channel | None, by: Identity = CLIENT, bid: int = 0) -> pb.Open:
    request = pb.Open(session_id=new_session_id(), start=0, stop=10, seq=1, quote=RECORD)
    if channel:
        request.payment.channel, request.payment.bid = channel.id, bid
        authorise(request, SERVER.address, by)
    return request
