"""The cheapest chain wins, truth is a best response, and what comes late or was never committed to does not count."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.orders import COMMIT, LEDGER, REVEAL, START, chains, order, profit, random_market, unsigned, vickrey
from swarm.errors import InvalidRequest, NoRoute
from swarm.market.auction.auction import Auction, Award, clear
from swarm.market.auction.sealed import MAX_BIDS, SealedBids, check_commitments
from swarm.market.auction.tender import BID_BYTES, Bid, Commitment, Order, SignedBid, commitment_of
from swarm.market.pricing.policy import Demand
from swarm.wire.formats.quotes import Price
from swarm.wire.identity import Identity

PEERS = [Identity(bytes([number]) * 32) for number in range(1, 9)]


def bid(wanted: Order, peer: int, start: int, stop: int, price: Price, **changes: object) -> SignedBid:
    terms = Bid(wanted.hash, wanted.ledger, PEERS[peer].address, start, stop, price, START, bytes([peer]) * 32)
    return dataclasses.replace(terms, **changes).sign(PEERS[peer])


def route(award: Award) -> list[tuple[int, int, int]]:
    names = [identity.address for identity in PEERS]
    return [(names.index(lease.peer), lease.start, lease.stop) for lease in award.leases]


# --- the cheapest chain, against trying all --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_the_chain_and_its_payments_are_those_of_trying_all_chains(seed):
    wanted, bids = random_market(random.Random(seed))
    best = min(chains(wanted, bids), default=None)
    if best is None:
        with pytest.raises(NoRoute):
            clear(wanted, bids)
        return
    award = clear(wanted, bids)
    assert (award.cost, len(award.leases)) == best
    for peer in {lease.peer for lease in award.leases}:
        paid = sum(lease.payment for lease in award.leases if lease.peer == peer)
        assert paid == vickrey(wanted, bids, peer, award)


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_nobody_is_paid_less_than_it_bid_and_no_client_pays_more_than_its_maximum(seed):
    wanted, bids = random_market(random.Random(seed))
    try:
        award = clear(wanted, bids)
    except NoRoute:
        return
    assert award.cost <= award.payment <= wanted.budget
    for lease in award.leases:
        for bidden, price, most in zip(lease.bid, lease.price, wanted.maximum, strict=True):
            assert bidden <= price <= most  # so it holds for a session of fewer tokens, too
        rounding = wanted.due(lease.price, lease.stop - lease.start) - lease.payment
        assert 0 <= rounding < (lease.stop - lease.start) * (wanted.prompt_tokens + wanted.new_tokens)


# --- truth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_bid_shading_gains_nothing(seed):
    rng = random.Random(seed)
    wanted, bids = random_market(rng)
    for index, one in enumerate(bids):
        truth = profit(wanted, bids, one.bid.peer, one.bid.price)
        assert truth >= 0
        for _ in range(12):
            start = rng.randint(one.bid.start, one.bid.stop - 1)  # perhaps it hides some of its blocks as well
            price = Price(rng.randint(0, wanted.maximum.prefill), rng.randint(0, wanted.maximum.decode))
            lie = dataclasses.replace(one.bid, start=start, stop=rng.randint(start + 1, one.bid.stop), price=price)
            others = [*bids[:index], SignedBid(lie, b""), *bids[index + 1 :]]
            assert profit(wanted, others, one.bid.peer, one.bid.price) <= truth


@pytest.mark.parametrize("seed", range(30))
def test_more_bids_under_fresh_keys_gain_nothing(seed):
    rng = random.Random(seed)
    wanted, bids = random_market(rng)
    owner = bids[0].bid
    truth = profit(wanted, bids, owner.peer, owner.price)
    for _ in range(12):
        price = Price(rng.randint(0, wanted.maximum.prefill), rng.randint(0, wanted.maximum.decode))
        second = unsigned(wanted, 100, owner.start, owner.stop, price)
        both = [*bids, second]
        assert sum(profit(wanted, both, peer, owner.price) for peer in (owner.peer, second.bid.peer)) <= truth


def test_a_monopolist_is_paid_the_maximum():
    wanted = order()
    award = clear(wanted, [bid(wanted, 0, 0, 6, Price(1, 1))])
    assert [lease.price for lease in award.leases] == [wanted.maximum]
    assert award.payment == wanted.budget


def test_the_winner_of_a_block_is_paid_what_the_next_asks():
    wanted = order()
    terms = [(0, 4, Price(10, 20)), (3, 6, Price(10, 30)), (0, 6, Price(30, 60))]
    bids = [bid(wanted, peer, *one) for peer, one in enumerate(terms)]
    award = clear(wanted, bids)
    assert route(award) == [(0, 0, 4), (1, 4, 6)]
    second = wanted.due(Price(30, 60), 1)
    assert award.leases[0].payment == 3 * second + wanted.due(Price(10, 30), 1)
    assert award.leases[1].payment == 2 * second


def test_among_equals_the_fewest_hops_win():
    wanted, price = order(), Price(5, 5)
    spans = [(0, 2), (0, 4), (1, 5), (2, 6), (4, 6)]
    award = clear(wanted, [bid(wanted, peer, *span, price) for peer, span in enumerate(spans)])
    assert len(award.leases) == 2


@pytest.mark.parametrize(
    "unfit",
    [{"order": bytes(32)}, {"ledger": bytes(32)}, {"expires_ms": START - 1}, {"price": Price(51, 0)},
     {"price": Price(0, 101)}],
    ids=["another order", "another ledger", "expires early", "prefill too dear", "decode too dear"],
)  # fmt: skip
def test_bids_that_do_not_meet_the_order_do_not_count(unfit):
    wanted = order()
    with pytest.raises(NoRoute, match=r"nobody bids .* for blocks \[0, 1, 2, 3, 4, 5\]"):
        clear(wanted, [bid(wanted, 0, 0, 6, **{"price": Price(1, 1), **unfit})])


def test_a_peer_without_the_stake_that_is_demanded_does_not_count():
    wanted = order(stake=10)
    bids = [bid(wanted, 0, 0, 6, Price(1, 1)), bid(wanted, 1, 0, 6, Price(9, 9))]
    assert route(clear(wanted, bids, {PEERS[0].address: 9, PEERS[1].address: 10})) == [(1, 0, 6)]
    with pytest.raises(NoRoute):
        clear(wanted, bids)


def test_two_bids_of_one_peer_are_refused():
    wanted = order()
    with pytest.raises(InvalidRequest, match="two bids"):
        clear(wanted, [bid(wanted, 0, 0, 6, Price(1, 1)), bid(wanted, 0, 0, 3, Price(2, 2))])


def test_a_server_bids_its_cost_for_what_is_wanted_of_its_blocks_and_less_for_a_batch_when_idle():
    wanted, auction = order(start=2), Auction(Price(10, 20))
    offer = auction.bid(wanted, PEERS[0].address, 0, 4, Demand(0.2))
    assert (offer.start, offer.stop, offer.price, offer.order) == (2, 4, Price(10, 20), wanted.hash)
    batch = auction.bid(order(batch=True), PEERS[0].address, 0, 4, Demand(0.2))
    assert batch.price == Price(5, 10)
    with pytest.raises(InvalidRequest, match="blocks"):
        auction.bid(wanted, PEERS[0].address, 0, 2, Demand(0.2))


# --- sealed ----------------------------------------------------------------------------------------------------------


def sealed_with(wanted: Order, *bids: tuple[int, SignedBid]) -> SealedBids:
    sealed = SealedBids(wanted)
    for peer, signed in bids:
        sealed.accept(commitment_of(signed.bid, PEERS[peer]), COMMIT - 1)
    return sealed


def test_an_auction_from_order_to_award():
    wanted = Order.decode(order().encode())
    bids = [bid(wanted, 0, 0, 6, Price(10, 10)), bid(wanted, 1, 0, 6, Price(20, 20))]
    sealed = sealed_with(wanted, *enumerate(bids))
    for peer, signed in enumerate(bids):
        own = commitment_of(signed.bid, PEERS[peer])
        check_commitments(own, [Commitment.decode(one.encode()) for one in sealed.commitments])
        sealed.reveal(SignedBid.decode(signed.encode()), COMMIT)
    assert route(clear(wanted, sealed.bids)) == [(0, 0, 6)]
    assert clear(wanted, sealed.bids).payment == wanted.due(Price(20, 20), 6)


def test_a_late_commitment_is_refused():
    wanted = order()
    with pytest.raises(InvalidRequest, match="after the order's deadline"):
        SealedBids(wanted).accept(commitment_of(bid(wanted, 0, 0, 6, Price(1, 1)).bid, PEERS[0]), COMMIT)


def test_a_late_bid_is_refused_and_so_is_one_before_the_others_had_to_commit():
    wanted = order()
    signed = bid(wanted, 0, 0, 6, Price(1, 1))
    sealed = sealed_with(wanted, (0, signed))
    for now_ms in (COMMIT - 1, REVEAL):
        with pytest.raises(InvalidRequest, match="deadline"):
            sealed.reveal(signed, now_ms)
    assert sealed.bids == ()


def test_a_bid_that_was_not_committed_to_is_refused():
    wanted = order()
    sealed = sealed_with(wanted, (0, bid(wanted, 0, 0, 6, Price(9, 9))))
    for peer in (0, 1):  # the one lowers its bid once it knows the others', the other comes out of nowhere
        with pytest.raises(InvalidRequest, match="did not commit"):
            sealed.reveal(bid(wanted, peer, 0, 6, Price(1, 1)), COMMIT)


def test_a_second_commitment_is_refused_and_the_first_may_be_sent_again():
    wanted = order()
    first = bid(wanted, 0, 0, 6, Price(9, 9))
    sealed = sealed_with(wanted, (0, first), (0, first))
    with pytest.raises(InvalidRequest, match="once"):
        sealed.accept(commitment_of(bid(wanted, 0, 0, 6, Price(1, 1)).bid, PEERS[0]), 0)
    assert sealed.commitments == (commitment_of(first.bid, PEERS[0]),)


def test_a_flood_of_commitments_is_turned_away():
    wanted = order()
    sealed = SealedBids(wanted)
    for number in range(MAX_BIDS):
        sealed.accept(Commitment(wanted.hash, number.to_bytes(20), bytes(32), b""), 0)
    with pytest.raises(InvalidRequest, match="peers have bid"):
        sealed.accept(Commitment(wanted.hash, bytes([1]) * 20, bytes(32), b""), 0)


def test_a_peer_keeps_its_bid_to_itself_if_its_commitment_is_missing_or_others_do_not_belong():
    wanted = order()
    own, other = (commitment_of(bid(wanted, peer, 0, 6, Price(1, 1)).bid, PEERS[peer]) for peer in (0, 1))
    check_commitments(own, [other, own])
    for shown in ([other], [own, own], [own, dataclasses.replace(other, order=bytes(32))]):
        with pytest.raises(InvalidRequest):
            check_commitments(own, shown)


# --- bytes -----------------------------------------------------------------------------------------------------------


words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=128)


@given(words, words, words, st.booleans(), st.integers(0, 2**40))
def test_an_order_is_what_it_was_after_the_wire(model, revision, numerics, batch, stake):
    wanted = order(model=model, revision=revision, numerics=numerics, batch=batch, stake=stake)
    assert Order.decode(wanted.encode()) == wanted
    assert Order.decode(wanted.encode()).hash == wanted.hash


def test_every_member_of_an_order_changes_its_hash():
    changes = {"ledger": bytes(32), "model": "m", "revision": "m", "numerics": "n", "start": 1, "stop": 5,
               "prompt_tokens": 1, "new_tokens": 1, "maximum": Price(1, 1), "stake": 1, "batch": True, "salt": LEDGER,
               "commit_by_ms": 1, "reveal_by_ms": 3000, "start_by_ms": 3000}  # fmt: skip
    assert changes.keys() == {member.name for member in dataclasses.fields(Order)}
    assert len({order(**{name: value}).hash for name, value in changes.items()} | {order().hash}) == len(changes) + 1


@given(st.data())
def test_changed_bytes_are_another_message_or_refused(data):
    wanted = order()
    signed = bid(wanted, 0, 0, 6, Price(1, 2))
    for kind, whole in ((Order, wanted), (SignedBid, signed), (Commitment, commitment_of(signed.bid, PEERS[0]))):
        encoded = bytearray(whole.encode())
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
        encoded = encoded[: data.draw(st.integers(0, len(encoded)))] if data.draw(st.booleans()) else encoded
        try:
            other = kind.decode(bytes(encoded))
        except InvalidRequest:
            continue
        assert other != whole
        assert other.encode() == encoded
        assert kind is Order  # whose bytes nobody signs: its hash is another


@given(st.binary(max_size=BID_BYTES + 300))
def test_bytes_from_anywhere_are_refused_and_nothing_else_goes_wrong(noise):
    for kind in (Order, SignedBid, Commitment):
        with pytest.raises(InvalidRequest):
            kind.decode(b"\x01" + noise)
        with pytest.raises(InvalidRequest):
            kind.decode(noise)


@pytest.mark.parametrize(
    "bad",
    [{"start": 6}, {"stop": 10**6}, {"prompt_tokens": 0, "new_tokens": 0}, {"new_tokens": 2**25}, {"stake": 2**63},
     {"maximum": Price(2**41, 0)}, {"maximum": Price(2**40, 0), "prompt_tokens": 2**23}, {"reveal_by_ms": COMMIT},
     {"start_by_ms": REVEAL - 1}, {"commit_by_ms": 0}, {"ledger": b""}, {"salt": b""}, {"model": "x" * 129},
     {"numerics": "\x1b[2J"}],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_refused(bad):
    with pytest.raises(InvalidRequest):
        order(**bad)


def test_a_bid_is_signed_by_the_peer_that_it_names():
    wanted = order()
    terms = bid(wanted, 0, 0, 6, Price(1, 1)).bid
    with pytest.raises(ValueError):
        terms.sign(PEERS[1])
    with pytest.raises(ValueError):
        commitment_of(terms, PEERS[1])
    forged = SignedBid(terms, PEERS[1].sign_hash(terms.hash))
    with pytest.raises(InvalidRequest, match="not signed by the peer"):
        SignedBid.decode(forged.encode())
