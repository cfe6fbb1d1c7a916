"""An auction among real servers."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import swarm
from helpers import wait_until
from orders_and_bids import PEERS, ordered
from swarm.client.background import wait
from swarm.errors import NoRoute
from swarm.market.auction.auction import Auction, clear
from swarm.market.auction.auctioneer import reserve
from swarm.market.auction.tender import SignedBid
from swarm.market.pricing.policy import Demand
from swarm.wire.formats.quotes import Price
from swarm.wire.identity import address_of

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
    with buyer(book, bidders, 1800, coverage_timeout_s=0.0) as client, pytest.raises(NoRoute) as refusal:
        client.generate(PROMPT, max_new_tokens=NEW)
    assert "nobody bids (90, 1800) or less for blocks [15, 16," in str(refusal.value)
    assert f"peer {bidders.named[2].peer_id[-8:]} bids (100, 2000) for blocks 15:30" in str(refusal.value)


def test_an_auction_needs_a_ledger_and_a_maximum(book, bidders):
    with pytest.raises(swarm.InvalidRequest, match="needs max_price"):
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
            first = wait(client.parts.generator.open_session(5 + NEW, 5, through=blocked))
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
