"""What a proof takes from whom: real signatures, and a real ledger in memory."""

import asyncio
from dataclasses import replace

import pytest

from clock import Clock
from ledgers import seen_by
from swarm.errors import LedgerRefusal, NoRoute, PaymentRequired
from swarm.market.billing import BillingOptions, post_stake
from swarm.market.charges import Charge, carry_out, charge_of, offence_of, slash_proof
from swarm.market.ledger.ledger import DAY_S, Account
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.slasher import Slasher
from swarm.market.stake import quoted_stake
from swarm.market.stakes import Stakes
from swarm.peers.policy import accepted
from swarm.route.peer import PeerInfo
from swarm.verify.fraud.proofs import AUDIT, CONTRADICTION, EQUIVOCATION, Proof
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.formats.receipts import NOTHING, Receipt, SignedReceipt, Terms
from swarm.wire.identity import Identity

ARBITER, CHEAT, ONE, TWO, FINDER = (Identity(bytes([number]) * 32) for number in (1, 2, 3, 4, 5))
STAKE = 1000
RIGHT, WRONG = bytes([1]) * 32, bytes([2]) * 32


def receipt(by: Identity, outputs: bytes = RIGHT, session: int = 0, index: int = 0, **changes: object) -> SignedReceipt:
    terms = Terms(bytes([session]) * 16, 1, by.address, 2, 4, NOTHING, "none/bfloat16", "cpu-1", 1, NOTHING)
    one = Receipt(terms, index, 0, 1, 0, NOTHING, NOTHING, outputs, NOTHING, NOTHING, NOTHING, 1)
    return replace(one, **changes).sign(by)


def equivocation(by: Identity = CHEAT, session: int = 0) -> Proof:
    return Proof.of(EQUIVOCATION, [receipt(by, RIGHT, session), receipt(by, WRONG, session)])


def panel(session: int = 0) -> Proof:
    """Two witnesses against the cheat."""
    return Proof.of(AUDIT, [receipt(CHEAT, WRONG, session), receipt(ONE, session=session), receipt(TWO)])


def contradiction() -> Proof:
    before = receipt(ONE)
    terms = replace(receipt(CHEAT).receipt.terms, start=4, stop=6)
    after = replace(receipt(CHEAT).receipt, terms=terms, upstream=before.receipt.hash, inputs=WRONG).sign(CHEAT)
    return Proof.of(CONTRADICTION, [before, after])


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def ledger(clock):
    """The arbiter's, on which the cheat has put all that it has at stake."""
    ledger = SqliteLedger(None, ARBITER, clock=clock)
    ledger.mint(CHEAT.address, STAKE)
    seen_by(ledger, CHEAT).bond(STAKE)
    yield ledger
    ledger.shut()


def give_stake(ledger: SqliteLedger, who: Identity, amount: int) -> None:
    ledger.mint(who.address, amount)
    seen_by(ledger, who).bond(amount)


def slashed_by(ledger: SqliteLedger, proof: Proof, arbitrates: bool = False) -> Account:
    """What the cheat has left when a client of that ledger has believed a proof."""

    async def work() -> None:
        slasher = Slasher(ledger)
        if arbitrates:
            slasher.arbitrate()
        slasher.of_proof(proof, FINDER.peer_id)
        slasher.of_proof(proof, FINDER.peer_id)  # whatever it hears twice
        await slasher.close(10.0)

    asyncio.run(work())
    return ledger.account(CHEAT.address)


# --- by signatures alone ---------------------------------------------------------------------------------------------


def test_any_client_brings_an_equivocation_and_gets_half(ledger):
    assert slashed_by(seen_by(ledger, FINDER), equivocation()) == Account()
    assert ledger.account(FINDER.address).available == STAKE // 2
    assert ledger.supply().burned == STAKE // 2


def test_who_is_late_with_an_equivocation_gets_nothing_and_it_does_no_harm(ledger):
    slashed_by(seen_by(ledger, FINDER), equivocation())
    slashed_by(seen_by(ledger, ONE), equivocation())
    assert ledger.account(ONE.address) == Account()


def test_a_client_that_is_not_the_arbiter_leaves_all_else_to_it(ledger):
    give_stake(ledger, ONE, STAKE)
    for proof in (panel(), contradiction()):
        assert slashed_by(seen_by(ledger, FINDER), proof).staked == STAKE
        with pytest.raises(LedgerRefusal, match="only this ledger's arbiter"):
            slash_proof(seen_by(ledger, FINDER), proof, FINDER.address)
    with pytest.raises(LedgerRefusal, match="only this ledger's arbiter"):
        Slasher(seen_by(ledger, FINDER)).arbitrate()
    with pytest.raises(LedgerRefusal, match="there is no stake without a ledger"):
        Slasher(None).arbitrate()


def test_a_contradiction_takes_all_and_half_is_its_finders(ledger):
    assert slashed_by(ledger, contradiction(), arbitrates=True) == Account()
    assert ledger.account(FINDER.address).available == STAKE // 2


# --- by the word of others -------------------------------------------------------------------------------------------


def test_the_word_of_fresh_keys_takes_nothing(ledger):
    with pytest.raises(LedgerRefusal, match=r"2 witnesses against .* have nothing at stake"):
        slash_proof(ledger, panel(), FINDER.address)
    assert slashed_by(ledger, panel(), arbitrates=True).staked == STAKE


def test_the_word_of_peers_with_stake_takes_as_much_as_they_have_and_is_nobodys_gain(ledger):
    give_stake(ledger, ONE, 200)
    give_stake(ledger, TWO, 100)
    assert slashed_by(ledger, panel(), arbitrates=True).staked == STAKE - 300
    assert ledger.account(FINDER.address) == Account()
    assert ledger.account(ARBITER.address).available == 150


def test_stake_that_witnesses_are_taking_back_does_not_count(ledger):
    give_stake(ledger, ONE, STAKE)
    seen_by(ledger, ONE).unbond(STAKE)
    with pytest.raises(LedgerRefusal, match="nothing at stake"):
        slash_proof(ledger, panel(), FINDER.address)


# --- what is an offence ----------------------------------------------------------------------------------------------


def test_one_session_is_one_offence_in_whatever_form_it_is_brought():
    """Else evidence that was cut and signed anew would take again what the offender stakes later."""
    first = offence_of(receipt(CHEAT, WRONG))
    assert first == offence_of(receipt(CHEAT, RIGHT, index=7))
    assert first == charge_of(panel(), FINDER.address, ARBITER.address, lambda address: 1).offence
    others = [receipt(CHEAT, session=1), receipt(ONE), contradiction().receipts[1]]
    assert len({first, *map(offence_of, others)}) == 4


def test_an_offence_is_slashed_once_also_in_parts_and_after_more_was_staked(ledger):
    charge = Charge.of_work(receipt(CHEAT, WRONG), FINDER.address)
    assert carry_out(ledger, charge, 400) == 400
    with pytest.raises(LedgerRefusal, match="was done before"):
        carry_out(ledger, charge)
    give_stake(ledger, CHEAT, STAKE)
    with pytest.raises(LedgerRefusal, match="was done before"):
        carry_out(ledger, Charge.of_work(receipt(CHEAT, WRONG, index=1), ONE.address))
    assert ledger.account(CHEAT.address).staked == STAKE - 400 + STAKE


def test_unbonding_is_no_escape_until_it_is_over(ledger, clock):
    seen_by(ledger, CHEAT).unbond(STAKE)
    clock.now_s += 7 * DAY_S - 1
    assert seen_by(ledger, CHEAT).withdraw() == 0
    assert carry_out(ledger, Charge.of_work(receipt(CHEAT, WRONG, session=2), FINDER.address), 100) == 100
    assert slashed_by(seen_by(ledger, FINDER), equivocation()) == Account()
    clock.now_s += 1
    assert seen_by(ledger, CHEAT).withdraw() == 0
    with pytest.raises(LedgerRefusal, match="nothing at stake"):
        carry_out(ledger, Charge.of_work(receipt(CHEAT, WRONG, session=1), FINDER.address))


# --- who has enough at stake -----------------------------------------------------------------------------------------


def peer(who: Identity, blocks: int = 2, price: int = 100) -> PeerInfo:
    one = PeerInfo(
        who.peer_id, "m", "r", 0, blocks, 12, "float32", "none", "", pb.Endpoint(), pb.ONLINE, 0, 0, pb.Load()
    )
    return replace(one, asks=Quote(bytes(32), price=Price(0, price)) if price else one.asks)


def looked(stakes: Stakes, peers: list[PeerInfo]) -> list[bool]:
    async def look() -> list[bool]:
        await stakes.look(peers)
        return [stakes.accept(one) for one in peers]

    return asyncio.run(look())


def test_fresh_keys_by_the_dozen_have_no_stake_and_nobodys_counts_for_another(ledger):
    need = quoted_stake(peer(CHEAT).asks, 2)
    give_stake(ledger, ONE, need)
    sybils = [peer(Identity()) for _ in range(12)]
    assert looked(Stakes(ledger), [peer(ONE), *sybils]) == [True] + [False] * 12
    assert looked(Stakes(ledger, allow_unstaked=True), sybils) == [True] * 12
    assert looked(Stakes(None), sybils) == [True] * 12


def test_stake_follows_price_and_blocks_and_free_work_needs_none(ledger):
    give_stake(ledger, ONE, quoted_stake(peer(ONE).asks, 2))
    dearer, larger, free = peer(ONE, price=101), peer(ONE, blocks=3), peer(TWO, price=0)
    assert looked(Stakes(ledger), [dearer])[0] is looked(Stakes(ledger), [larger])[0] is False
    assert looked(Stakes(ledger), [peer(ONE), free]) == [True, True]
    assert looked(Stakes(ledger, least=1), [peer(ONE), free]) == [True, False]


def test_stake_on_its_way_back_does_not_count(ledger):
    need = quoted_stake(peer(ONE).asks, 2)
    give_stake(ledger, ONE, need)
    seen_by(ledger, ONE).unbond(1)
    stakes = Stakes(ledger)
    assert looked(stakes, [peer(ONE)]) == [False]
    assert f"little at stake, 0.{need - 1:09} of 0.{need:09}".rstrip("0") in stakes.why(peer(ONE))
    assert stakes.hint([peer(ONE)]).startswith("allow_unstaked")
    with pytest.raises(NoRoute, match=f"no peer of 'm' has enough at stake: peer {ONE.peer_id[-8:]} has too little"):
        accepted([stakes], "m", [peer(ONE)])


# --- servers ---------------------------------------------------------------------------------------------------------


def test_a_server_stakes_what_is_missing_and_not_what_it_has_not(ledger):
    server, options = seen_by(ledger, ONE), BillingOptions("BOOK", None, stake=300)
    ledger.mint(ONE.address, 299)
    with pytest.raises(PaymentRequired, match=f"ledger transfer {ONE.peer_id} 0.000000001 --ledger BOOK"):
        post_stake(server, options, ONE.peer_id)
    assert server.account() == Account(available=299)
    ledger.mint(ONE.address, 11)
    for _ in range(2):  # also when it starts again
        post_stake(server, options, ONE.peer_id)
        assert server.account() == Account(available=10, staked=300)
    post_stake(server, replace(options, stake=305), ONE.peer_id)
    assert server.account() == Account(available=5, staked=305)
