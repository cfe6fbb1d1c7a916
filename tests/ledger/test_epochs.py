"""Epochs on real ledgers: what is minted for whom, and what does not help to get more of it."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import BACKENDS, KEYS, World, seen_by, sqlite
from swarm.cli.ledger import verbs as command
from swarm.errors import InvalidRequest, LedgerRefusal, PeerUnreachable
from swarm.home import client_identity
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Ledger, Rules
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.pricing.fixed import Fixed
from swarm.market.pricing.market import Market
from swarm.market.rewards.ballots import Ballot
from swarm.market.rewards.closing import Closer, Plan, payments_of
from swarm.market.rewards.epochs import Epochs, stakes
from swarm.market.rewards.rewards import Rewards
from swarm.wire.formats.quotes import FREE
from swarm.wire.formats.receipts import NOTHING
from swarm.wire.identity import Identity

ALICE, BOB, CAROL = (KEYS[name].address for name in ("alice", "bob", "carol"))
HALF_BACK = Plan(Market(FREE, mints_ppm=500_000), emission=10**6)
BALLOTS = Plan(Rewards(FREE), emission=1000, reveal_s=60)
BURNS = Rules(withdraw_delay_s=1_000, unbonding_s=5_000, burn_ppm=100_000)


@pytest.fixture(params=BACKENDS)
def world(request, tmp_path) -> Iterator[World]:
    with BACKENDS[request.param](tmp_path, BURNS) as world:
        yield world


@pytest.fixture
def book(tmp_path) -> Iterator[World]:
    with sqlite(tmp_path, BURNS) as world:
        yield world


def pay(world: World, client: str, server: bytes, amount: int) -> None:
    """Settled at once."""
    payer = getattr(world, client)
    world.issuer.mint(payer.address, amount)
    channel = payer.open_channel(server, amount)
    world.carol.settle([world.voucher(channel, amount, by=client)])


def close(world: World, plan: Plan) -> dict[bytes, int]:
    """The running epoch; what is minted for it."""
    closer = Closer(world.issuer, plan)
    assert closer.step().payments is None
    world.advance(plan.reveal_s + 1)
    closed = closer.step()
    return dict(closed.payments) if closed else {}


def spans(ledger: Ledger) -> list[tuple[int, bool]]:
    return [(span.epoch, span.is_emitted) for span in Epochs(ledger).read()]


# --- closing ---------------------------------------------------------------------------------------------------------


def test_a_part_of_what_was_burned_for_each_servers_work_is_minted_for_it(world):
    pay(world, "alice", BOB, 1000)
    pay(world, "bob", CAROL, 3000)
    before = world.issuer.supply().minted
    assert close(world, HALF_BACK) == {BOB: 50, CAROL: 150}
    assert world.issuer.supply().minted == before + 200
    assert world.issuer.account(BOB).available == 900 + 50
    assert spans(world.alice) == [(0, True), (1, False)]


def test_an_epoch_counts_what_was_settled_in_it_and_not_before_or_after(world):
    pay(world, "alice", BOB, 1000)
    closer = Closer(world.issuer, HALF_BACK)
    closer.step()
    pay(world, "alice", CAROL, 5000)  # while epoch 0 is not paid yet
    assert closer.step().payments == {BOB: 50}
    closer.step()
    assert closer.step().payments == {CAROL: 250}


def test_vouchers_that_are_settled_together_count_each_for_its_server(world):
    world.issuer.mint(ALICE, 3000)
    channels = [world.alice.open_channel(BOB, 1000), world.alice.open_channel(CAROL, 2000)]
    world.bob.settle([world.voucher(channels[0], 1000), world.voucher(channels[1], 2000)])
    assert close(world, HALF_BACK) == {BOB: 50, CAROL: 100}


def test_an_epoch_is_closed_once(world):
    pay(world, "alice", BOB, 1000)
    close(world, HALF_BACK)
    with pytest.raises(LedgerRefusal):
        world.issuer.emit(0, {ALICE: 1})
    with pytest.raises(LedgerRefusal):
        world.issuer.end_commits(0)
    assert close(world, HALF_BACK) == {}  # the next one, in which nothing happened
    assert spans(world.issuer)[1][0] == 1
    assert [epoch for epoch, _ in spans(world.issuer)] == [0, 1, 2]


def test_nobody_else_closes_an_epoch(world):
    with pytest.raises(LedgerRefusal):
        Closer(world.alice, HALF_BACK).step()


def test_who_is_interrupted_between_end_and_emission_goes_on_there(world):
    pay(world, "alice", BOB, 1000)
    Closer(world.issuer, HALF_BACK).step()
    assert Closer(world.issuer, HALF_BACK).step().payments == {BOB: 50}
    assert spans(world.issuer) == [(0, True), (1, False)]


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_ledger_that_breaks_off_around_an_emission_is_paid_out_once(book, monkeypatch, is_done):
    pay(book, "alice", BOB, 1000)
    closer, emit = Closer(book.issuer, HALF_BACK), book.issuer.emit
    closer.step()

    def broken(epoch, payments):
        if is_done:
            emit(epoch, payments)
        raise PeerUnreachable("gone")

    monkeypatch.setattr(book.issuer, "emit", broken)
    with pytest.raises(PeerUnreachable):
        closer.step()
    monkeypatch.undo()
    closed = closer.step()
    assert closed.payments == (None if is_done else {BOB: 50})  # if it was done, the next epoch ends
    assert book.issuer.account(BOB).available == 950


def test_an_epoch_in_which_nothing_happened_holds_nobody_up(world):
    for _ in range(3):
        assert close(world, HALF_BACK) == {}
    assert [epoch for epoch, _ in spans(world.issuer)] == [0, 1, 2, 3]


def test_an_epoch_lasts_as_long_as_it_is_to_last_by_the_ledgers_clock(book):
    closer = Closer(book.issuer, HALF_BACK)
    assert closer.step(3600) is None
    book.advance(3601)
    assert closer.step(3600).epoch == 0


def test_a_policy_that_mints_nothing_is_refused():
    with pytest.raises(InvalidRequest, match="fixed mints nothing"):
        Plan(Fixed(FREE), 1000)


# --- the command and the service -------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch) -> Iterator[SqliteLedger]:
    """This user's ledger."""
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    ledger = SqliteLedger(tmp_path / "own.db", client_identity(), BURNS)
    yield ledger
    ledger.shut()


@pytest.fixture
def run(own, tmp_path, capsys):
    """Runs a verb on it; returns the objects that it prints, or the error."""

    def run(*arguments: str, status: int = 0) -> list[dict] | str:
        assert command.main(["epoch", *arguments, "--ledger", str(tmp_path / "own.db"), "--json"]) == status
        output = capsys.readouterr()
        return output.err if status else [json.loads(line) for line in output.out.splitlines()]

    return run


def test_an_epoch_is_closed_by_hand(own, run):
    own.mint(own.address, 1000)
    channel = own.open_channel(BOB, 1000)
    own.settle([Voucher(own.id, channel.id, 1000, NOTHING).sign(client_identity())])
    ended, minted = run("close", "--emission", "1", "--mints", "25")
    assert ended == {"epoch": 0, "ended": True}
    assert minted == {"epoch": 0, "minted": {format_address(BOB): 25}}
    assert [(span["epoch"], span["is_emitted"]) for span in run("list")] == [(0, True), (1, False)]


def test_ballots_are_waited_for_and_it_says_until_when(run):
    error = run("close", "--emission", "1", "--pricing", "rewards", status=1)
    assert "epoch 0 has ended; do this again from" in error
    assert "do this again" in run("close", "--emission", "1", "--pricing", "rewards", status=1)


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "--emission AMOUNT"), (("--emission", "x"), "not an amount"),
    (("--emission", "1", "--mints", "101"), "not a percentage"), (("--emission", "1", "--reveal", "-1"), "reveal"),
])  # fmt: skip
def test_a_bad_plan_gets_one_line(run, arguments, message):
    error = run("close", *arguments, status=1)
    assert message in error
    assert error.count("\n") == 1


# --- burn and mint ---------------------------------------------------------------------------------------------------

payments = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 10**9)), max_size=8)
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
