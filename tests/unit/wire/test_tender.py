"""Auctions over the network: bids, clearing, and what a server answers."""

import asyncio
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from orders_and_bids import MAXIMUM, PEERS, ask, bidding_of, ordered, rival_bid
from swarm.clock import now_ms
from swarm.errors import InvalidRequest, NoRoute, PeerBusy
from swarm.market.auction.auction import Award, clear
from swarm.market.auction.auctioneer import Tenders, hold, reserve
from swarm.market.auction.bidding import CALLS, CALLS_EACH, SKEW_MS, Bidding
from swarm.market.auction.tender import Order, SignedBid, commitment_of
from swarm.route.peer import PeerInfo
from swarm.server.refusals import refuse_tender
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price
from swarm.wire.tls import make_certificate
from swarm.wire.transport import Peer, serve

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
