"""Epochs: what is settled in one is minted for once, by the ledger's command and of itself."""

import json
from collections.abc import Iterator

import pytest

from epochs import BURNS, HALF_BACK, close, pay
from ledgers import KEYS, World, sqlite
from swarm.cli.ledger import verbs as command
from swarm.errors import InvalidRequest, LedgerRefusal, PeerUnreachable
from swarm.home import client_identity
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.pricing.fixed import Fixed
from swarm.market.rewards.closing import Closer, Plan
from swarm.market.rewards.epochs import Epochs
from swarm.wire.formats.quotes import FREE
from swarm.wire.formats.receipts import NOTHING

ALICE, BOB, CAROL = (KEYS[name].address for name in ("alice", "bob", "carol"))


@pytest.fixture
def book(tmp_path) -> Iterator[World]:
    with sqlite(tmp_path, BURNS) as world:
        yield world


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
    error = run("close", *arguments, status=2)
    assert message in error
    assert error.count("\n") == 1
