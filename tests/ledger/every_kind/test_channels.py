"""What every kind of ledger does alike: channels and vouchers."""

import os

from ledgers import RULES
from refusals import refused
from swarm.market.ledger.ids import channel_id
from swarm.market.ledger.ledger import Account, Supply
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import keccak256

# --- channels --------------------------------------------------------------------------------------------------------


def test_a_channel_holds_what_was_put_into_it(world):
    channel = world.alice.open_channel(world.bob.address, 10 * CREDIT)
    assert world.bob.channel(channel.id) == channel
    assert (channel.payer, channel.payee) == (world.alice.address, world.bob.address)
    assert (channel.deposit, channel.paid, channel.rest, channel.is_closed) == (10 * CREDIT, 0, 10 * CREDIT, False)
    assert world.alice.account() == Account(90 * CREDIT, escrowed=10 * CREDIT)
    assert world.bob.channel(os.urandom(32)) is None


def test_a_channels_id_follows_from_its_parties(world):
    assert channel_id(b"l" * 32, b"a" * 20, b"b" * 20, b"s" * 32) == keccak256(b"l" * 32 + b"a" * 20 + b"b" * 20
                                                                              + b"s" * 32)  # fmt: skip
    first, second = (world.alice.open_channel(world.bob.address, 1) for _ in range(2))
    assert first.id != second.id


def test_channels_are_found_by_their_parties(world):
    one = world.alice.open_channel(world.bob.address, 1)
    two = world.bob.open_channel(world.alice.address, 2)
    three = world.alice.open_channel(world.carol.address, 3)
    four = world.alice.open_channel(world.bob.address, 4)
    assert world.carol.channels() == [one, two, three, four]
    assert world.carol.channels(payer=world.alice.address) == [one, three, four]
    assert world.carol.channels(payee=world.bob.address) == [one, four]
    assert world.carol.channels(world.alice.address, world.carol.address) == [three]
    assert world.carol.channels(world.carol.address) == []


def test_a_voucher_pays_what_it_exceeds_the_last_by_less_what_is_burned(world):
    channel = world.alice.open_channel(world.bob.address, 10 * CREDIT)
    assert world.bob.settle([world.voucher(channel, 1_000)]) == [1_000]
    assert world.bob.settle([world.voucher(channel, 3_001)]) == [2_001]
    assert world.bob.account().available == 50 * CREDIT + 990 + 1_981  # 1 % is burned, rounded down
    assert world.bob.supply() == Supply(150 * CREDIT, 10 + 20)
    assert world.alice.account() == Account(90 * CREDIT, escrowed=10 * CREDIT - 3_001)
    assert world.bob.channel(channel.id).paid == 3_001


def test_anybody_may_settle_in_the_payees_favour(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    assert world.carol.settle([world.voucher(channel, 1_000)]) == [1_000]
    assert world.bob.account().available == 50 * CREDIT + 990
    assert world.carol.account() == Account()


def test_many_channels_settle_at_once(world):
    first = world.alice.open_channel(world.carol.address, 1_000)
    second = world.bob.open_channel(world.carol.address, 1_000)
    vouchers = [world.voucher(second, 300, "bob"), world.voucher(first, 100), world.voucher(first, 900)]
    assert world.carol.settle(vouchers) == [300, 100, 800]
    assert world.carol.account().available == 297 + 99 + 792


def test_a_voucher_that_is_not_worth_something_is_refused_and_with_it_all_others(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    other = world.alice.open_channel(world.bob.address, 1_000)
    closed = world.alice.open_channel(world.bob.address, 1_000)
    world.bob.release(closed.id)
    world.bob.settle([world.voucher(channel, 500)])
    good = world.voucher(other, 100)
    for bad in (
        world.voucher(channel, 500),  # stale
        world.voucher(channel, 499),
        world.voucher(channel, 1_001),  # over the deposit
        world.voucher(channel, 600, by="bob"),  # by somebody else
        world.voucher(channel, 600, ledger=os.urandom(32)),
        world.voucher(os.urandom(32), 600),
        world.voucher(closed, 600),
        good,  # twice the same
    ):
        with refused(world):
            world.bob.settle([good, bad])
    assert world.bob.settle([good, world.voucher(channel, 600)]) == [100, 100]


def test_a_payer_tops_up_and_nobody_else(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    world.alice.top_up(channel.id, 500)
    assert world.bob.channel(channel.id).deposit == 1_500
    assert world.alice.account().escrowed == 1_500
    for holder in (world.bob, world.carol):
        with refused(world):
            holder.top_up(channel.id, 1)
    with refused(world):
        world.alice.top_up(channel.id, 100 * CREDIT)
    with refused(world):
        world.alice.top_up(os.urandom(32), 1)


def test_a_payee_releases_a_channel_at_once(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    world.bob.settle([world.voucher(channel, 400)])
    for holder in (world.alice, world.carol):
        with refused(world):
            holder.release(channel.id)
    world.bob.release(channel.id)
    assert world.bob.channel(channel.id).is_closed
    assert world.bob.channel(channel.id).rest == 0
    assert world.alice.account() == Account(100 * CREDIT - 400)


def test_a_payer_gets_the_rest_back_after_the_delay_and_no_earlier(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    with refused(world):
        world.alice.close(channel.id)
    before = world.alice.now()
    world.alice.request_close(channel.id)
    closes_at = world.alice.channel(channel.id).closes_at
    assert before + RULES.withdraw_delay_s <= closes_at <= world.alice.now() + RULES.withdraw_delay_s
    world.advance(RULES.withdraw_delay_s // 2)
    with refused(world):
        world.alice.close(channel.id)
    world.bob.settle([world.voucher(channel, 400)])  # what the delay is for
    world.advance(RULES.withdraw_delay_s)
    with refused(world):
        world.bob.close(channel.id)
    world.alice.close(channel.id)
    assert world.alice.account() == Account(100 * CREDIT - 400)
    assert world.alice.channel(channel.id).is_closed


def test_a_wish_to_close_is_the_payers_alone_and_a_top_up_takes_it_back(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    with refused(world):
        world.bob.request_close(channel.id)
    world.alice.request_close(channel.id)
    with refused(world):
        world.alice.request_close(channel.id)
    world.alice.top_up(channel.id, 1)
    assert world.alice.channel(channel.id).closes_at == 0
    world.advance(2 * RULES.withdraw_delay_s)
    with refused(world):
        world.alice.close(channel.id)


def test_nothing_happens_in_a_closed_channel(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    world.bob.release(channel.id)
    for order in (lambda: world.alice.top_up(channel.id, 1), lambda: world.alice.request_close(channel.id),
                  lambda: world.alice.close(channel.id), lambda: world.bob.release(channel.id),
                  lambda: world.bob.settle([world.voucher(channel, 1)])):  # fmt: skip
        with refused(world):
            order()
