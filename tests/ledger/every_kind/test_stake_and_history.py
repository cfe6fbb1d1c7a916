"""What every kind of ledger does alike: stake, epochs and history."""

import os

from ledgers import RULES, equivocation, revealed
from refusals import refused
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Account, Supply
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import keccak256

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
    entries = list(world.carol.history())
    assert report.problems == ()
    assert (report.entries, report.head) == (len(entries), entries[-1].hash)
    assert report.supply == world.carol.supply()
    assert {address: world.carol.account(address) for address in report.accounts} == report.accounts
