"""What every kind of ledger does alike: money, stake, epochs and history."""

import os

import pytest

from ledgers import KEYS, RULES
from refusals import everything, refused
from swarm.errors import InvalidRequest
from swarm.market.ledger.ledger import Account, Supply
from swarm.wire.formats.amounts import CREDIT, MAX_AMOUNT

# --- money -----------------------------------------------------------------------------------------------------------


def test_all_see_one_book(world):
    assert {len(holder.id) for holder in world.holders} == {32}
    assert len({holder.id for holder in world.holders}) == 1
    assert [holder.address for holder in world.holders] == [key.address for key in KEYS.values()]
    assert world.carol.account(world.alice.address) == world.alice.account() == Account(available=100 * CREDIT)
    assert world.carol.account() == world.alice.account(os.urandom(20)) == Account()
    assert world.bob.supply() == Supply(150 * CREDIT, 0)
    assert world.bob.rules == RULES
    assert {holder.issuer for holder in world.holders} == {KEYS["issuer"].address}


def test_two_ledgers_have_two_ids(make_ledger):
    assert make_ledger().alice.id != make_ledger().alice.id


def test_money_moves_and_burns(world):
    world.alice.transfer(world.carol.address, 30)
    world.carol.burn(10)
    assert world.carol.account() == Account(available=20)
    assert world.alice.account().available == 100 * CREDIT - 30
    assert world.carol.supply() == Supply(150 * CREDIT, 10)


def test_money_that_goes_to_its_owner_stays_the_same(world):
    world.alice.transfer(world.alice.address, 30)
    assert world.alice.account() == Account(available=100 * CREDIT)


def test_what_is_not_covered_is_refused(world):
    too_much = 100 * CREDIT + 1
    for order in (world.alice.burn, world.alice.bond, lambda amount: world.alice.transfer(world.bob.address, amount),
                  lambda amount: world.alice.open_channel(world.bob.address, amount)):  # fmt: skip
        with refused(world):
            order(too_much)
    with refused(world):
        world.alice.unbond(1)


def test_only_the_issuer_mints_unless_credits_are_paid_for(world):
    if world.is_backed:
        world.alice.mint(world.carol.address, 1)
        assert world.carol.account() == Account(1)
        return
    with refused(world):
        world.alice.mint(world.alice.address, 1)


def test_no_more_is_minted_than_an_amount_can_be(world):
    world.issuer.mint(world.carol.address, MAX_AMOUNT - 150 * CREDIT)
    with refused(world):
        world.issuer.mint(world.carol.address, 1)
    with refused(world):
        world.issuer.emit(1, {world.carol.address: 1})


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1, 2**64, 1.5, True, "1"])
def test_what_is_no_amount_is_refused(world, amount):
    orders = [world.alice.burn, world.alice.bond, world.alice.unbond,
              lambda amount: world.alice.transfer(world.bob.address, amount),
              lambda amount: world.issuer.mint(world.bob.address, amount),
              lambda amount: world.alice.open_channel(world.bob.address, amount)]  # fmt: skip
    before = everything(world)
    for order in orders:
        with pytest.raises(InvalidRequest):
            order(amount)
    assert everything(world) == before
