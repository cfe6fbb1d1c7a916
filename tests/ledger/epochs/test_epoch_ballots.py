"""Burn and mint, and ballots of validators: nobody gains by paying itself, by copying or by coming late."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochs import BURNS, HALF_BACK, close, pay, payments
from ledgers import KEYS, World, seen_by, sqlite
from swarm.errors import LedgerRefusal
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.ledger import Rules
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.pricing.market import Market
from swarm.market.rewards.ballots import Ballot
from swarm.market.rewards.closing import Closer, Plan, payments_of
from swarm.market.rewards.epochs import Epochs, stakes
from swarm.market.rewards.rewards import Rewards
from swarm.wire.formats.quotes import FREE
from swarm.wire.formats.receipts import NOTHING
from swarm.wire.identity import Identity

ALICE, BOB, CAROL = (KEYS[name].address for name in ("alice", "bob", "carol"))

BALLOTS = Plan(Rewards(FREE), emission=1000, reveal_s=60)


@pytest.fixture
def book(tmp_path) -> Iterator[World]:
    with sqlite(tmp_path, BURNS) as world:
        yield world


PEOPLE = [Identity(bytes([number]) * 32) for number in range(1, 5)]


@given(payments, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**9))
def test_no_more_is_minted_than_was_burned_in_all_or_for_anybody(paid, burn_ppm, mints_ppm, emission):
    ledger = SqliteLedger(None, KEYS["issuer"], Rules(burn_ppm=burn_ppm))
    burned = dict.fromkeys((one.address for one in PEOPLE), 0)
    for client, server, amount in paid:
        payer, payee = seen_by(ledger, PEOPLE[client]), PEOPLE[server].address
        ledger.mint(payer.address, amount)
        channel = payer.open_channel(payee, amount)
        ledger.settle([Voucher(ledger.id, channel.id, amount, NOTHING).sign(PEOPLE[client])])
        burned[payee] += amount * burn_ppm // 10**6
    closer = Closer(ledger, Plan(Market(FREE, mints_ppm=mints_ppm), emission))
    closer.step()
    closed = closer.step()
    minted = closed.payments if closed else {}
    assert all(amount <= burned[server] for server, amount in minted.items())
    assert sum(minted.values()) <= min(emission, ledger.supply().burned * mints_ppm // 10**6)
    ledger.shut()


def test_who_pays_itself_loses_what_is_burned_for_good(world):
    """A client and a server of one owner, beside others who work for strangers."""
    pay(world, "alice", CAROL, 100_000)
    world.issuer.mint(ALICE, 10_000)
    owned = 10_000
    channel = world.alice.open_channel(BOB, 10_000)
    world.bob.settle([world.voucher(channel, 10_000)])
    close(world, HALF_BACK)
    left = world.issuer.account(ALICE).total + world.issuer.account(BOB).total
    assert left == owned - 1000 + 500  # of a tenth that was burned, half comes back


# --- ballots ---------------------------------------------------------------------------------------------------------


def stake(world: World, **amounts: int) -> None:
    for name, amount in amounts.items():
        ledger = getattr(world, name)
        world.issuer.mint(ledger.address, amount)
        ledger.bond(amount)


def test_validators_and_servers_with_stake_share_the_emission(world):
    stake(world, alice=100, bob=50, carol=1)
    ballots = [Ballot(one.address, 0, {BOB: 3, CAROL: 1}) for one in (world.alice, world.bob)]
    for ledger, ballot in zip((world.alice, world.bob), ballots, strict=True):
        ledger.commit(0, ballot.digest)
    closer = Closer(world.issuer, BALLOTS)
    closer.step()
    for ledger, ballot in zip((world.alice, world.bob), ballots, strict=True):
        ledger.reveal(0, ballot.encode())
    assert closer.step() is None  # others may still reveal
    world.advance(61)
    # Half for servers, 3 to 1; half for validators, 2 to 1.
    assert closer.step().payments == {ALICE: 333, BOB: 375 + 167, CAROL: 125}


def test_before_everybody_has_committed_there_is_nothing_to_copy(world):
    stake(world, alice=100, bob=50)
    ballot = Ballot(ALICE, 0, {BOB: 12345})
    world.alice.commit(0, ballot.digest)
    told = json.dumps([(entry.kind, *map(str, entry.details.values())) for entry in world.bob.history()])
    assert ballot.encode().hex() not in told
    assert ballot.salt.hex() not in told
    with pytest.raises(LedgerRefusal):  # also its owner cannot show it yet
        world.alice.reveal(0, ballot.encode())
    world.bob.commit(0, ballot.digest)  # a copy of what can be seen
    world.issuer.end_commits(0)
    world.alice.reveal(0, ballot.encode())
    world.bob.reveal(0, ballot.encode())
    world.advance(61)
    assert set(Closer(world.issuer, BALLOTS).step().payments) == {ALICE, BOB}
    assert world.issuer.account(BOB).available == 500  # as a server; as a validator nothing


def test_a_ballot_after_the_commitments_a_second_one_and_a_changed_one_are_refused(world):
    stake(world, alice=100, bob=50)
    first, second = (Ballot(ALICE, 0, {BOB: score}) for score in (1, 2))
    world.alice.commit(0, first.digest)
    with pytest.raises(LedgerRefusal):
        world.alice.commit(0, second.digest)
    world.issuer.end_commits(0)
    with pytest.raises(LedgerRefusal):
        world.bob.commit(0, Ballot(BOB, 0, {BOB: 1}).digest)
    for forged in (second, Ballot(ALICE, 0, {CAROL: 1}, first.salt)):
        with pytest.raises(LedgerRefusal):
            world.alice.reveal(0, forged.encode())
    world.alice.reveal(0, first.encode())
    with pytest.raises(LedgerRefusal):
        world.alice.reveal(0, first.encode())


def test_who_commits_and_does_not_reveal_in_time_gets_nothing(world):
    stake(world, alice=100, bob=1000, carol=1)
    ballots = {name: Ballot(KEYS[name].address, 0, {CAROL: 1}) for name in ("alice", "bob")}
    for name, ballot in ballots.items():
        getattr(world, name).commit(0, ballot.digest)
    closer = Closer(world.issuer, BALLOTS)
    closer.step()
    world.alice.reveal(0, ballots["alice"].encode())
    world.advance(61)
    world.bob.reveal(0, ballots["bob"].encode())
    assert closer.step().payments == {ALICE: 500, CAROL: 500}


def test_what_is_staked_once_ballots_are_open_has_no_say(world):
    stake(world, alice=100, carol=1)
    world.issuer.mint(BOB, 1000)
    honest, greedy = Ballot(ALICE, 0, {CAROL: 1}), Ballot(BOB, 0, {BOB: 1})
    world.alice.commit(0, honest.digest)
    world.bob.commit(0, greedy.digest)
    closer = Closer(world.issuer, BALLOTS)
    closer.step()
    world.bob.bond(1000)
    world.alice.reveal(0, honest.encode())
    world.bob.reveal(0, greedy.encode())
    world.alice.unbond(50)
    world.advance(61)
    (span, _) = Epochs(world.issuer).read()
    assert stakes(world.issuer, span, [ALICE, BOB, CAROL]) == {ALICE: 100, BOB: 0, CAROL: 1}
    assert closer.step().payments == {ALICE: 500, CAROL: 500}


def test_a_server_with_too_little_at_stake_gets_nothing(book):
    stake(book, alice=100, bob=9, carol=10)
    ballot = Ballot(ALICE, 0, {BOB: 1000, CAROL: 1})
    book.alice.commit(0, ballot.digest)
    book.issuer.end_commits(0)
    book.alice.reveal(0, ballot.encode())
    book.advance(61)
    plan = Plan(Rewards(FREE, server_stake=10), 1000, reveal_s=60)
    assert Closer(book.issuer, plan).step().payments == {ALICE: 500, CAROL: 500}


def test_anybody_computes_the_same_emission_from_the_book_at_any_time_later(world):
    stake(world, alice=100, carol=1)
    ballot = Ballot(ALICE, 0, {CAROL: 1})
    world.alice.commit(0, ballot.digest)
    closer = Closer(world.issuer, BALLOTS)
    closer.step()
    world.alice.reveal(0, ballot.encode())
    world.advance(61)
    paid = closer.step().payments
    world.alice.unbond(100)
    close(world, BALLOTS)
    assert payments_of(world.bob, Epochs(world.bob).read()[0], BALLOTS) == paid
