"""Sessions opened at an auction's price: what makes an offer good, and for what."""

import asyncio
import os
import time

import pytest

from ledgers import seen_by
from orders_and_bids import CLIENT, MAXIMUM, PEERS, ask, bidding_of, ordered, rival_bid
from swarm.errors import InvalidRequest, PeerBusy
from swarm.market.auction.bidding import SKEW_MS
from swarm.market.auction.firm_bid import MAX_AWARDS
from swarm.market.auction.offer import prove
from swarm.market.auction.tender import Order, SignedBid, commitment_of
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.payments import authorise
from swarm.market.channel.receivable import Tab
from swarm.market.ledger.ledger import Rules
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.formats.receipts import Tokens
from swarm.wire.session_id import new_session_id

# --- opening at an award ---------------------------------------------------------------------------------------------

RECORD = bytes([7]) * 32  # hash of the server's directory record

SERVER, RIVAL = PEERS[0], PEERS[1]

BID, SECOND = Price(50, 1000), Price(100, 2000)  # with MAXIMUM as it is, the award's price is the rival's bid exactly


class Counter:
    """A server that takes offers, and a client's order for which it has bid."""

    def __init__(self, folder):
        self.ledger = SqliteLedger(folder / "ledger.db", CLIENT, Rules(withdraw_delay_s=1000))
        self.ledger.mint(CLIENT.address, CREDIT)
        self.clock_s = 0.0
        self._store = PaymentStore(folder / "payments.db")
        self.start()
        self.channel = self.ledger.open_channel(SERVER.address, CREDIT // 2)
        self.order = ordered(ledger=self.ledger.id)
        self.bids = self.agree(self.order)

    def start(self, bids: bool = True) -> None:
        """A new process of the server. bids: whether it makes offers."""
        now = lambda: time.time() + self.clock_s  # noqa: E731
        self.bidding = bidding_of(SERVER, 0, 6, BID, ledger=self.ledger.id, now=now) if bids else None
        self.channels = PayeeChannels(seen_by(self.ledger, SERVER), self._store, bidding=self.bidding)
        self.channels.posted(RECORD, Quote(self.ledger.id, "auction", BID, Price(25, 500)))

    def agree(self, order: Order) -> list[SignedBid]:
        """All bids, after the server has revealed its own."""
        rival = rival_bid(order, 1, SECOND)
        own = ask(self.bidding, order).commitment
        shown = [own, commitment_of(rival.bid, RIVAL).encode()]
        return [SignedBid.decode(ask(self.bidding, order, commitment=own, commitments=shown).bid), rival]

    def open(
        self, price: Price = SECOND, proof: bytes = b"", max_tokens: int = 50, batch: bool = False, stop: int = 6
    ) -> Tab:
        request = pb.Open(
            session_id=new_session_id(), start=0, stop=stop, seq=1, quote=RECORD, max_tokens=max_tokens
        )  # fmt: skip
        proof = proof or prove(self.order.hash, self.bids)
        request.payment.MergeFrom(pb.Payment(
            channel=self.channel.id, offer=proof, prefill=price.prefill, decode=price.decode, batch=batch
        ))  # fmt: skip
        authorise(request, SERVER.address, CLIENT)
        return asyncio.run(self.channels.open(request))


@pytest.fixture
def counter(tmp_path):
    return Counter(tmp_path)


def test_a_session_is_opened_at_the_price_of_the_next_cheapest(counter):
    assert counter.open().price == SECOND


@pytest.mark.parametrize("price", [BID, Price(99, 2000), Price(100, 1999), Price(0, 0)])
def test_a_client_that_pays_less_than_the_award_is_refused(counter, price):
    with pytest.raises(InvalidRequest, match=r"the award is \(100, 2000\)"):
        counter.open(price)


def test_a_rival_invented_after_the_bid_was_revealed_lowers_nothing(counter):
    cheap = rival_bid(counter.order, 2, Price(51, 1001))
    with pytest.raises(InvalidRequest, match="nobody had committed to"):
        counter.open(Price(51, 1001), prove(counter.order.hash, [*counter.bids, cheap]))


def test_to_leave_rivals_out_only_costs_the_client_more(counter):
    alone = prove(counter.order.hash, counter.bids[:1])
    with pytest.raises(InvalidRequest, match=r"the award is \(200, 4000\)"):
        counter.open(SECOND, alone)
    assert counter.open(MAXIMUM, alone).price == MAXIMUM


def test_an_offer_of_another_peer_is_not_this_ones(counter):
    other = ordered(ledger=counter.ledger.id)
    with pytest.raises(PeerBusy, match="has made no bid for this order"):
        counter.open(proof=prove(other.hash, [rival_bid(other, 1, SECOND)]))
    counter.start()  # after a restart it stands by nothing
    with pytest.raises(PeerBusy, match="has made no bid for this order"):
        counter.open()


def test_an_offer_from_before_the_bid_was_revealed_is_none(counter):
    order = ordered(ledger=counter.ledger.id)
    ask(counter.bidding, order)
    with pytest.raises(PeerBusy, match="has made no bid for this order"):
        counter.open(proof=prove(order.hash, [rival_bid(order, 1, SECOND)]))


def test_an_offer_is_good_until_the_latest_start(counter):
    counter.clock_s = 12 + SKEW_MS / 1000 - 1
    assert counter.open()
    counter.clock_s += 2
    with pytest.raises(PeerBusy, match="latest start"):
        counter.open()


def test_an_offer_is_good_for_the_winners_blocks(counter):
    with pytest.raises(InvalidRequest, match="blocks 0:5 are not this peer's"):
        counter.open(stop=5)
    cheaper = prove(counter.order.hash, counter.bids[1:])  # by these, the rival wins
    with pytest.raises(InvalidRequest, match="blocks 0:6 are not this peer's"):
        counter.open(proof=cheaper)


def test_an_offer_for_batch_work_is_not_for_other_sessions(counter):
    with pytest.raises(InvalidRequest, match="batch"):
        counter.open(batch=True)
    counter.order = ordered(ledger=counter.ledger.id, batch=True)
    counter.bids = counter.agree(counter.order)
    assert counter.bids[0].bid.price == Price(25, 500)
    with pytest.raises(InvalidRequest, match="batch"):
        counter.open(SECOND)
    assert counter.open(SECOND, batch=True)


def test_an_offer_is_good_for_its_orders_tokens_and_no_more(counter):
    with pytest.raises(PeerBusy, match="fewer left of its order"):
        counter.open(max_tokens=51)
    first = counter.open()
    first.enter()
    with pytest.raises(PeerBusy, match="fewer left of its order"):  # replayed while it is in use
        counter.open(max_tokens=1)
    first.progress(Tokens(10, 20), Tokens())
    first.leave()
    with pytest.raises(PeerBusy, match="fewer left of its order"):
        counter.open(max_tokens=21)
    assert counter.open(max_tokens=20)


def test_offers_that_are_garbled_or_without_end_are_refused_and_change_nothing(counter):
    good = prove(counter.order.hash, counter.bids)
    flipped = good[:100] + bytes([good[100] ^ 1]) + good[101:]
    for bad in (good[:-1], good[:32], good + bytes(214), flipped, good + good[32:], good[:32] + os.urandom(214)):
        with pytest.raises(InvalidRequest):
            counter.open(proof=bad)
    assert counter.open().price == SECOND


def test_the_offers_of_one_order_are_counted(counter):
    """To work one out takes time: a client gets as many as it needs when winners are full."""
    for _ in range(MAX_AWARDS):
        with pytest.raises(InvalidRequest):
            counter.open(proof=counter.order.hash + os.urandom(214))
    with pytest.raises(InvalidRequest, match="place another"):
        counter.open()


def test_no_offer_can_be_made_where_nobody_bids(counter):
    counter.start(bids=False)
    with pytest.raises(InvalidRequest, match="makes no bids"):
        counter.open()
