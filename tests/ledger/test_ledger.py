"""What every ledger does, whatever its book is kept in."""

import os
from dataclasses import replace

import pytest

from ledgers import BACKENDS, KEYS, RULES, World, equivocation, revealed
from swarm.errors import InvalidRequest, LedgerRefusal
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ids import channel_id
from swarm.market.ledger.ledger import Account, Supply
from swarm.wire.formats.amounts import CREDIT, MAX_AMOUNT
from swarm.wire.identity import keccak256


@pytest.fixture(params=BACKENDS)
def make_ledger(request, tmp_path):
    """Makes a world with other rules than RULES."""
    opened = []

    def make(**changes: int) -> World:
        backend = BACKENDS[request.param](tmp_path / str(len(opened)), replace(RULES, **changes))
        opened.append(backend)
        return backend.__enter__()

    yield make
    for backend in opened:
        backend.__exit__(None, None, None)


@pytest.fixture
def world(make_ledger) -> World:
    """Alice has 100 credits, and bob 50."""
    world = make_ledger()
    world.issuer.mint(world.alice.address, 100 * CREDIT)
    world.issuer.mint(world.bob.address, 50 * CREDIT)
    return world


def everything(world: World) -> tuple:
    """All that can be read, but for the entries, which on a chain take in other people's."""
    ledger = world.issuer
    accounts = [ledger.account(holder.address) for holder in world.holders]
    entries = len(list(ledger.history()))
    return accounts, ledger.supply(), ledger.channels(), entries


class refused:
    """What is ordered inside is refused, and changes nothing."""

    def __init__(self, world: World, match: str | None = None):
        self._world, self._raises = world, pytest.raises(LedgerRefusal, match=match)

    def __enter__(self):
        self._before = everything(self._world)
        self._raises.__enter__()

    def __exit__(self, *error):
        result = self._raises.__exit__(*error)
        assert everything(self._world) == self._before
        return result


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


# --- stake -----------------------------------------------------------------------------------------------------------


def test_stake_comes_back_after_it_has_been_unbonding_long_enough(world):
    world.bob.bond(1_000)
    world.bob.unbond(300)
    world.advance(RULES.unbonding_s // 2)
    world.bob.unbond(200)
    assert world.bob.account() == Account(50 * CREDIT - 1_000, staked=500, unbonding=500)
    assert world.bob.withdraw() == 0
    world.advance(RULES.unbonding_s // 2 + 60)
    assert world.bob.withdraw() == 300  # each part has its own time
    world.advance(RULES.unbonding_s // 2 + 60)
    assert world.bob.withdraw() == 200
    assert world.bob.account() == Account(50 * CREDIT - 500, staked=500)


def test_the_arbiter_takes_stake_first_what_is_bonded(world):
    world.bob.bond(1_000)
    world.bob.unbond(400)
    assert world.issuer.slash(world.bob.address, 501, world.carol.address, os.urandom(32)) == 501
    assert world.bob.account() == Account(50 * CREDIT - 1_000, staked=99, unbonding=400)
    assert world.carol.account() == Account(250)  # half, rounded down
    assert world.carol.supply().burned == 251
    assert world.issuer.slash(world.bob.address, 200, world.carol.address, os.urandom(32)) == 200
    assert world.bob.account() == Account(50 * CREDIT - 1_000, unbonding=299)
    assert world.issuer.slash(world.bob.address, 1_000, world.carol.address, os.urandom(32)) == 299
    assert world.bob.account() == Account(50 * CREDIT - 1_000)


def test_stake_is_slashable_until_it_has_been_withdrawn(world):
    world.bob.bond(1_000)
    world.bob.unbond(600)
    world.bob.unbond(400)
    world.advance(RULES.unbonding_s + 60)
    assert world.issuer.slash(world.bob.address, 700, world.carol.address, os.urandom(32)) == 700
    assert world.bob.withdraw() == 300
    assert world.bob.account() == Account(50 * CREDIT - 700)


def test_only_the_arbiter_slashes_and_once_for_each_piece_of_evidence(world):
    world.bob.bond(1_000)
    evidence = os.urandom(32)
    with refused(world):
        world.carol.slash(world.bob.address, 1, world.carol.address, evidence)
    with refused(world):
        world.issuer.slash(world.alice.address, 1, world.carol.address, evidence)  # has no stake
    assert world.issuer.slash(world.bob.address, 1, world.carol.address, evidence) == 1
    with refused(world):
        world.issuer.slash(world.bob.address, 1, world.carol.address, evidence)


def test_who_tells_two_stories_loses_all_stake(world):
    world.bob.bond(1_000)
    world.bob.unbond(500)
    assert world.carol.slash_equivocation(*equivocation("bob")) == 1_000
    assert world.bob.account() == Account(50 * CREDIT - 1_000)
    assert world.carol.account() == Account(500)
    world.bob.bond(1_000)
    with refused(world):  # once for each
        world.carol.slash_equivocation(*reversed(equivocation("bob")))
    assert world.carol.slash_equivocation(*equivocation("bob", index=1)) == 1_000


def test_who_tells_one_story_loses_nothing(world):
    world.bob.bond(1_000)
    (first, second), (another, _) = equivocation("bob"), equivocation("bob", index=1)
    for pair in ((first, first), (second, another), (first, equivocation("alice")[1])):
        with refused(world):
            world.carol.slash_equivocation(*pair)
    with refused(world):  # alice has no stake
        world.carol.slash_equivocation(*equivocation("alice"))


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_what_was_committed_is_revealed_once_commitments_are_closed(world):
    payload = b"what I have measured"
    world.alice.commit(2, keccak256(payload))
    with refused(world):
        world.alice.reveal(2, payload)
    world.issuer.end_commits(2)
    world.alice.reveal(2, payload)
    assert revealed(world.bob, 2) == {world.alice.address: payload}
    assert revealed(world.bob, 1) == {}


def test_nothing_is_committed_late_twice_or_revealed_otherwise(world):
    world.alice.commit(2, keccak256(b"payload"))
    with refused(world):
        world.alice.commit(2, keccak256(b"another"))
    with refused(world):
        world.alice.end_commits(2)
    world.issuer.end_commits(2)
    for epoch in (1, 2):
        with refused(world):
            world.bob.commit(epoch, bytes(32))
    world.bob.commit(3, keccak256(b""))
    for holder, payload in ((world.alice, b"another"), (world.bob, b"payload")):
        with refused(world):
            holder.reveal(2, payload)
    world.alice.reveal(2, b"payload")
    with refused(world):
        world.alice.reveal(2, b"payload")


def test_an_epochs_rewards_are_emitted_once_by_the_issuer(world):
    payments = {world.alice.address: 5, world.carol.address: 7}
    with refused(world):
        world.alice.emit(1, payments)
    world.issuer.emit(1, payments)
    assert world.carol.account() == Account(7)
    assert world.carol.supply() == Supply(150 * CREDIT + 12, 0)
    with refused(world):
        world.issuer.emit(1, payments)
    world.issuer.emit(2, payments)


# --- history ---------------------------------------------------------------------------------------------------------


def test_every_entry_says_who_ordered_what_and_adds_up_to_nothing(world):
    world.alice.transfer(world.carol.address, 30)
    entries = list(world.bob.history())
    last = entries[-1]
    assert (last.kind, last.by) == ("transfer", world.alice.address)
    assert last.details["amount"] == 30
    assert last.details["to"] == world.carol.address.hex()
    assert all(sum(line.amount for line in entry.postings) == 0 for entry in entries)
    numbers, times = [entry.number for entry in entries], [entry.time_ms for entry in entries]
    assert numbers == sorted(set(numbers))
    assert times == sorted(times)
    assert len({entry.hash for entry in entries}) == len(entries)


def test_history_is_read_by_account_and_from_a_number_on(world):
    world.alice.transfer(world.carol.address, 30)
    world.bob.burn(1)
    mine = list(world.alice.history(world.carol.address))
    assert [entry.kind for entry in mine] == ["transfer"]
    everything = list(world.alice.history())
    assert list(world.alice.history(first=everything[-1].number)) == everything[-1:]


def test_the_postings_of_all_entries_are_the_balances(world):
    channel = world.alice.open_channel(world.bob.address, 10_000)
    world.bob.settle([world.voucher(channel, 4_000)])
    world.bob.bond(1_000)
    world.bob.unbond(500)
    world.carol.slash_equivocation(*equivocation("bob"))
    sums: dict[tuple[bytes, str], int] = {}
    for entry in world.carol.history():
        for line in entry.postings:
            sums[line.address, line.bucket] = sums.get((line.address, line.bucket), 0) + line.amount
    for holder in world.holders:
        account = holder.account()
        for bucket in ("available", "escrowed", "staked", "unbonding"):
            assert sums.get((holder.address, bucket), 0) == getattr(account, bucket)
    assert world.carol.supply() == Supply(-sums[bytes(20), "minted"], sums[bytes(20), "burned"])


def test_an_audit_of_any_ledger_finds_that_its_balances_are_what_its_entries_add_up_to(world):
    channel = world.alice.open_channel(world.bob.address, 10_000)
    world.bob.settle([world.voucher(channel, 4_000)])
    world.bob.bond(1_000)
    world.carol.slash_equivocation(*equivocation("bob"))
    report = audit(world.carol)
    assert report.problems == ()
    assert report.supply == world.carol.supply()
    assert {address: world.carol.account(address) for address in report.accounts} == report.accounts
