"""Auctions on a real network and a real ledger: who wins, what it is paid, and what becomes of those who cheat."""

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

import swarm
from helpers import wait_until
from ledgers import seen_by
from swarm.client.background import wait
from swarm.clock import now_ms
from swarm.errors import InvalidRequest, NoRoute, PeerBusy
from swarm.market.auction.auction import Auction, Award, clear
from swarm.market.auction.auctioneer import Tenders, hold, reserve
from swarm.market.auction.bidding import CALLS, CALLS_EACH, SKEW_MS, Bidding
from swarm.market.auction.offer import prove
from swarm.market.auction.standing import MAX_AWARDS
from swarm.market.auction.tender import Bid, Order, SignedBid, commitment_of
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.payments import authorise
from swarm.market.channel.receivable import Tab
from swarm.market.ledger.ledger import Rules
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.pricing.policy import Demand
from swarm.route.peer import PeerInfo
from swarm.server.refusals import refuse_tender
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.formats.receipts import Tokens
from swarm.wire.identity import Identity, address_of
from swarm.wire.session_id import new_session_id
from swarm.wire.tls import make_certificate
from swarm.wire.transport import Peer, serve

CLIENT, *PEERS = (Identity(bytes([number]) * 32) for number in range(1, 9))
LEDGER = bytes([9]) * 32
MAXIMUM = Price(200, 4000)
WINDOW_MS = 1_000


def ordered(window_ms: int = WINDOW_MS, **changes: object) -> Order:
    now = now_ms()
    usual = Order(
        LEDGER, "m", "r", 0, 6, 10, 40, MAXIMUM, now + window_ms, now + 2 * window_ms, now + 2 * window_ms + 10_000,
        os.urandom(32),
    )  # fmt: skip
    return dataclasses.replace(usual, **changes)


def bidding_of(peer: Identity, start: int, stop: int, price: Price, kind: type[Bidding] = Bidding, **more) -> Bidding:
    """ledger: where it is paid. now: its clock."""
    record = pb.PeerRecord(peer_id=peer.peer_id, model="m", revision="r", start=start, stop=stop, num_blocks=6)
    policy = Auction(price)

    def bid(order: Order, first: int, last: int) -> Bid:
        return policy.bid(order, peer.address, first, last, Demand(0.0))

    return kind(lambda: PeerInfo.of(record), peer, more.pop("ledger", LEDGER), bid, **more)


# --- over the network ------------------------------------------------------------------------------------------------


class Late(Bidding):
    async def answer(self, request: pb.Tender, network: str) -> pb.Tendered:
        await asyncio.sleep((Order.decode(request.order).commit_by_ms - now_ms()) / 1000 + 0.1)
        return await super().answer(request, network)


class Turncoat(Bidding):
    """Reveals a lower bid than it had committed itself to."""

    async def answer(self, request: pb.Tender, network: str) -> pb.Tendered:
        answer = await super().answer(request, network)
        if answer.bid:
            other = dataclasses.replace(SignedBid.decode(answer.bid).bid, price=Price(1, 1))
            answer.bid = other.sign(self._identity).encode()
        return answer


@asynccontextmanager
async def served(bidders: Sequence[Bidding | None]) -> AsyncIterator[tuple[dict[bytes, PeerInfo], Callable]]:
    """Servers of nothing but bids, each on its own port, as a client knows them. None: one that makes none."""

    async def nothing(*arguments: object) -> None:
        pass

    certificate, servers, asked, connections = make_certificate(), [], {}, {}
    unused = dict.fromkeys(("session", "push", "status", "deposit", "withdraw"), nothing)
    for number, bidding in enumerate(bidders):
        tender = bidding.tender if bidding else refuse_tender
        server, port = await serve("127.0.0.1", 0, certificate, 2**20, **unused, tender=tender)
        servers.append(server)
        peer_id = PEERS[number].peer_id
        endpoint = pb.Endpoint(peer_id=peer_id, host="127.0.0.1", port=port, certificate=certificate.certificate_der)
        record = PeerInfo.of(pb.PeerRecord(peer_id=peer_id, model="m", revision="r", start=0, stop=6, num_blocks=6))
        asked[PEERS[number].address] = dataclasses.replace(record, endpoint=endpoint)
        connections[peer_id] = Peer(endpoint, 2**20)
    try:
        yield asked, lambda info: connections[info.peer_id]
    finally:
        for peer in connections.values():
            await peer.close()
        for server in servers:
            await server.stop(0)


async def tenders_of(*bidders: Bidding | None) -> Tenders:
    async with served(bidders) as (asked, connect):
        return await hold(ordered(), asked, connect)


def award_of(tenders: Tenders) -> Award:
    return clear(tenders.order, tenders.bids)


def everybody() -> set[str]:
    return {peer.peer_id for peer in PEERS}


def test_bids_that_come_late_or_change_or_are_not_made_do_not_count():
    bidders = [
        bidding_of(PEERS[0], 0, 6, Price(50, 1000)),
        bidding_of(PEERS[1], 0, 6, Price(10, 200), Late),
        bidding_of(PEERS[2], 0, 6, Price(10, 300), Turncoat),
        None,
    ]
    tenders = asyncio.run(tenders_of(*bidders))
    assert [one.bid.peer for one in tenders.bids] == [PEERS[0].address]
    (hop,) = tenders.chain(everybody())
    assert (hop.peer.peer_id, hop.offer.price) == (PEERS[0].peer_id, MAXIMUM)  # alone, it is paid the maximum
    assert "did not commit to" in tenders.refusals[PEERS[2].address]
    assert "makes no bids" in tenders.refusals[PEERS[3].address]


def test_who_bids_more_than_its_cost_loses_the_order_or_earns_the_same():
    """Its cost is 1000, the next asks 1500: with a bid of 1400 it earns the same, with one of 1600 nothing."""

    async def earned(asks: int) -> int:
        bidders = [bidding_of(PEERS[0], 0, 6, Price(50, asks)), bidding_of(PEERS[1], 0, 6, Price(50, 1500))]
        tenders = await tenders_of(*bidders)
        return sum(lease.payment for lease in award_of(tenders).leases if lease.peer == PEERS[0].address)

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*map(earned, (1000, 1400, 1600)))

    truth, shaded, greedy = asyncio.run(all_of_them())
    assert truth == shaded == 6 * (10 * 50 + 40 * 1500)
    assert greedy == 0


def test_a_chain_without_a_full_winner_is_cleared_from_the_same_bids():
    bidders = [bidding_of(PEERS[number], 0, 6, Price(50 + 25 * number, 1000 + 500 * number)) for number in range(3)]
    tenders = asyncio.run(tenders_of(*bidders))
    (best,), (second,) = tenders.chain(everybody()), tenders.chain(everybody() - {PEERS[0].peer_id})
    assert (best.peer.peer_id, best.offer.price.decode) == (PEERS[0].peer_id, 1500)
    assert (second.peer.peer_id, second.offer.price.decode) == (PEERS[1].peer_id, 2000)


def test_an_order_that_nobody_fulfils_says_who_bid_what():
    bidders = [bidding_of(PEERS[0], 0, 3, Price(50, 1000)), bidding_of(PEERS[1], 3, 6, Price(50, 5000)), None]
    with pytest.raises(NoRoute) as refusal:
        asyncio.run(tenders_of(*bidders)).chain(everybody())
    text = str(refusal.value)
    assert "nobody bids (200, 4000) or less for blocks [3, 4, 5]" in text
    assert f"peer {PEERS[1].peer_id[-8:]} bids (50, 5000) for blocks 3:6" in text
    assert f"none of peer {PEERS[2].peer_id[-8:]}: this peer makes no bids" in text


@pytest.mark.parametrize(("prompt", "new"), [(5, 40), (1000, 1), (0, 7), (3, 0)])
def test_the_reserve_is_what_the_client_pays_at_most_on_average(prompt, new):
    most = reserve(60_000, 30, prompt, new)
    spent = most.due(30, prompt, new)
    assert 60_000 * (prompt + new) * 0.98 < spent <= 60_000 * (prompt + new)


# --- what a server answers -------------------------------------------------------------------------------------------


def ask(bidding: Bidding, order: Order, network: str = "192.0.2.1", **more: object) -> pb.Tendered:
    return asyncio.run(bidding.answer(pb.Tender(order=order.encode(), **more), network))


@pytest.mark.parametrize(("change", "why"), [
    ({"ledger": bytes(32)}, "is paid on the ledger"),
    ({"model": "other"}, "serves 'm' in revision r"),
    ({"revision": "other"}, "serves 'm' in revision r"),
    ({"numerics": "exact"}, "computes in numerics ''"),
    ({"start": 4}, "this peer serves 0:3"),
    ({"stop": 7}, "this peer serves 0:3"),
    ({"start_by_ms": 2**63}, "is good for 60 s at most"),
    ({"commit_by_ms": 1, "reveal_by_ms": 2}, "too late to bid"),
])  # fmt: skip
def test_an_order_that_does_not_fit_gets_no_bid(change, why):
    with pytest.raises(InvalidRequest, match=why):
        ask(bidding_of(PEERS[0], 0, 3, Price(1, 1)), ordered(**change))


def test_a_peer_bids_once_for_an_order():
    bidding, order = bidding_of(PEERS[0], 0, 6, Price(1, 1)), ordered()
    assert ask(bidding, order) == ask(bidding, order)


@pytest.mark.parametrize("fault", ["without its own", "others than before", "too early", "too late", "garbled"])
def test_a_bid_is_kept_to_itself_unless_all_commitments_are_shown_in_time(fault):
    clock = [time.time()]
    bidding = bidding_of(PEERS[0], 0, 6, Price(1, 1), now=lambda: clock[0])
    order = ordered(15_000)
    own = ask(bidding, order).commitment
    rival = rival_bid(order, 1, Price(2, 2))
    shown = [own, commitment_of(rival.bid, PEERS[1]).encode()]
    clock[0] = {"too early": clock[0], "too late": order.reveal_by_ms / 1000 + SKEW_MS / 1000}.get(
        fault, order.commit_by_ms / 1000
    )
    if fault == "others than before":
        assert SignedBid.decode(ask(bidding, order, commitment=own, commitments=shown).bid).bid.price == Price(1, 1)
        shown = [own]
    shown = {"without its own": shown[1:], "garbled": [own, os.urandom(len(own))]}.get(fault, shown)
    why = {"too early": "too early", "too late": "too late", "others than before": "other commitments"}
    with pytest.raises(InvalidRequest, match=why.get(fault, "commitment")):
        ask(bidding, order, commitment=own, commitments=shown)


def test_a_flood_of_orders_of_one_network_leaves_others_their_turn():
    bidding = bidding_of(PEERS[0], 0, 6, Price(1, 1))
    for _ in range(CALLS_EACH):
        ask(bidding, ordered())
    with pytest.raises(PeerBusy, match="more orders than this peer looks at"):
        ask(bidding, ordered())
    assert ask(bidding, ordered(), network="198.51.100.7").commitment


def test_a_flood_of_orders_of_all_networks_is_limited_too():
    bidding = bidding_of(PEERS[0], 0, 6, Price(1, 1))
    order = ordered()
    for number in range(CALLS):
        ask(bidding, order, network=f"network {number}")
    with pytest.raises(PeerBusy):
        ask(bidding, order, network="one more")


# --- opening at an award ---------------------------------------------------------------------------------------------

RECORD = bytes([7]) * 32  # hash of the server's directory record
SERVER, RIVAL = PEERS[0], PEERS[1]
BID, SECOND = Price(50, 1000), Price(100, 2000)  # with MAXIMUM as it is, the award's price is the rival's bid exactly


def rival_bid(order: Order, peer: int, price: Price) -> SignedBid:
    return Auction(price).bid(order, PEERS[peer].address, 0, 6, Demand(0.0)).sign(PEERS[peer])


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


# --- a swarm ---------------------------------------------------------------------------------------------------------

PROMPT, NEW = "The capital of France is", 24
RESERVE = Price(150, 3000)


@pytest.fixture(scope="module")
def bidders(book):
    """Two that compete for the first half of the model, and a monopolist of the second."""
    options = {"quant": "int4", "threads": 1, "ledger": book[0], "pricing": "auction", "settle_every": 0.5}
    options["stake"] = "1"
    with swarm.LocalSwarm("demo", [], **options, max_sessions=1) as local, ThreadPoolExecutor() as side_by_side:
        asks = [("0:15", 1000), ("0:15", 1500), ("15:30", 2000)]
        local.named = list(side_by_side.map(lambda ask: local.start(ask[0], price=ask[1]), asks))
        yield local


def most_for(reserved: int, prompt_tokens: int, new_tokens: int) -> int:
    """The max_price that makes `reserved` the most for a decoded token through one block."""
    return next(
        price for price in range(reserved, 31 * reserved)
        if reserve(price, 30, prompt_tokens, new_tokens).decode == reserved
    )  # fmt: skip


def buyer(book, bidders, reserved: int, **options: object) -> swarm.Client:
    prompt_tokens = 5
    most = most_for(reserved, prompt_tokens, NEW)
    return swarm.Client(
        "demo", bidders.peers, ledger=str(book[0]), auction=True, max_price=most, bidding_s=1.5, audit="off", **options
    )


def test_the_cheapest_chain_is_used_and_paid_the_second_price_or_the_reserve(book, bidders):
    _, ledger = book
    cheap, dear, alone = (address_of(server.peer_id) for server in bidders.named)
    before = [ledger.account(peer).available for peer in (cheap, dear, alone)]
    with buyer(book, bidders, RESERVE.decode) as client:
        generation = client.generate(PROMPT, max_new_tokens=NEW, ignore_eos=True)
    assert len(generation.prompt_token_ids) == 5
    assert [(address_of(hop.peer_id), hop.blocks) for hop in generation.route] == [(cheap, (0, 15)), (alone, (15, 30))]
    second, most = Price(75, 1500).due(15, 5, NEW - 1), RESERVE.due(15, 5, NEW - 1)
    assert [payment.amount for payment in generation.payments] == [second, most]
    expected = [before[0] + second, before[1], before[2] + most]
    assert wait_until(lambda: [ledger.account(peer).available for peer in (cheap, dear, alone)] == expected, 20)


def test_a_batch_session_pays_by_idle_prices(book, bidders):
    with buyer(book, bidders, RESERVE.decode) as client:
        generation = client.generate(PROMPT, max_new_tokens=NEW, ignore_eos=True, batch=True)
    order = ordered(stop=15, prompt_tokens=5, new_tokens=NEW, maximum=RESERVE)
    idle = Price(25, 500), Price(37, 750)
    bids = [Auction(price).bid(order, peer.address, 0, 15, Demand(0)) for price, peer in zip(idle, PEERS, strict=False)]
    (lease,) = clear(order, [SignedBid(bid, b"") for bid in bids]).leases
    assert generation.payments[0].amount == lease.price.due(15, 5, NEW - 1)


def test_an_order_below_what_peers_ask_names_the_blocks_and_the_bids(book, bidders):
    with buyer(book, bidders, 1800) as client, pytest.raises(NoRoute) as refusal:
        client.generate(PROMPT, max_new_tokens=NEW)
    assert "nobody bids (90, 1800) or less for blocks [15, 16," in str(refusal.value)
    assert f"peer {bidders.named[2].peer_id[-8:]} bids (100, 2000) for blocks 15:30" in str(refusal.value)


def test_an_auction_needs_a_ledger_and_a_maximum(book, bidders):
    with pytest.raises(swarm.InvalidRequest, match="needs a max_price"):
        swarm.Client("demo", bidders.peers, ledger=str(book[0]), auction=True)
    with pytest.raises(swarm.InvalidRequest, match="needs a ledger"):
        swarm.Client("demo", bidders.peers, auction=True, max_price=10)


@pytest.mark.slow
def test_a_winner_that_is_full_leaves_the_order_to_the_next(book, bidders):
    spare = bidders.start("15:30", price=2500)
    try:
        with buyer(book, bidders, RESERVE.decode) as client:
            assert wait_until(lambda: len(client.usable_peers()) == 4, 20)
            cheap, dear, alone = (server.peer_id for server in bidders.named)
            blocked = [swarm.Hop(cheap, (0, 15)), swarm.Hop(spare.peer_id, (15, 30))]
            first = wait(client._generator.open_session(5 + NEW, 5, through=blocked))
            generation = client.generate(PROMPT, max_new_tokens=NEW, ignore_eos=True)
            first.close()
        assert [hop.peer_id for hop in generation.route] == [dear, alone]
        assert [payment.decode_price for payment in generation.payments] == [RESERVE.decode, 2500]
    finally:
        spare.stop()


@pytest.mark.slow
def test_a_peer_that_replaces_a_winner_is_paid_what_it_posts(book, bidders):
    with buyer(book, bidders, RESERVE.decode) as client:
        stream = client.stream(PROMPT, max_new_tokens=200, ignore_eos=True)
        for count, _ in enumerate(stream):
            if count == 20:
                bidders.named[0].kill()
        generation = stream.generation
    assert len(generation.token_ids) == 200
    replaced = [payment for payment in generation.payments if payment.peer_id == bidders.named[1].peer_id]
    assert [(payment.prefill_price, payment.decode_price) for payment in replaced] == [(75, 1500)]
