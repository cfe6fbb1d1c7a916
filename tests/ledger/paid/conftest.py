"""One server that is paid, and a channel to it."""

import pytest

from ledgers import seen_by
from shop import CLIENT, PRICE, RECORD, SERVER, Shop
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.ledger.ledger import Rules
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import Quote


@pytest.fixture
def shop(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db", CLIENT, Rules(withdraw_delay_s=1000))
    ledger.mint(CLIENT.address, CREDIT)
    server = seen_by(ledger, SERVER)
    store = PaymentStore(tmp_path / "payments.db")
    channels = PayeeChannels(server, store)
    channels.posted(RECORD, Quote(ledger.id, price=PRICE))
    yield Shop(ledger, server, channels, store)
    store.close()


@pytest.fixture
def channel(shop):
    return shop.ledger.open_channel(SERVER.address, 1_000_000)
