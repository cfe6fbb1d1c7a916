"""Validators: they score what they measured, show it when nobody can copy it any more, and come back from a crash."""

import json
from collections.abc import Iterator

import pytest

import swarm
from ledgers import KEYS, RULES, World, revealed, sqlite
from swarm.auditor.auditor import Round
from swarm.auditor.scoring import Measurements
from swarm.auditor.validator import Validator
from swarm.cli import auditor as cli
from swarm.errors import NoRoute, PeerUnreachable
from swarm.home import client_identity
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.market.rewards.ballots import MAX_SCORE, counted
from swarm.market.rewards.closing import Closer, Plan, payments_of
from swarm.market.rewards.epochs import Epochs
from swarm.market.rewards.rewards import Rewards
from swarm.market.stake import required_stake
from swarm.results import Audit, Generation
from swarm.route.peer import PeerInfo
from swarm.verify.audit.auditing import LOCAL
from swarm.verify.audit.judging.judgement import Judgement, Verdict
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import FREE, Price, Quote
from swarm.wire.identity import Identity, address_of

PLAN = Plan(Rewards(FREE), emission=1000, reveal_s=60)
HOUR = 3600
BOB, CAROL = KEYS["bob"], KEYS["carol"]


def audit(server: Identity, blocks: tuple[int, int], count: int, verdict: Verdict | None = Verdict.PASS, by=LOCAL):
    judgement = None if verdict is None else Judgement(verdict, "exact", 0.0, "")
    return Audit(server.peer_id, blocks, 0, count, by, judgement)


def measured(*audits: Audit) -> dict[bytes, float]:
    measurements = Measurements()
    for one in audits:
        measurements.add(one)
    return {server: float(score) for server, score in measurements.scores().items()}


# --- scores ----------------------------------------------------------------------------------------------------------


def test_a_server_is_scored_by_its_blocks_and_not_by_how_long_prompts_happened_to_be():
    assert measured(audit(BOB, (0, 10), 7), audit(CAROL, (10, 30), 100)) == {BOB.address: 10, CAROL.address: 20}


def test_work_that_nobody_could_check_or_that_is_suspect_is_not_verified():
    audits = [audit(BOB, (0, 10), 30), audit(BOB, (0, 10), 5, None), audit(BOB, (0, 10), 5, Verdict.SUSPECT)]
    assert measured(*audits) == {BOB.address: 7.5}


def test_one_failure_costs_the_whole_score():
    assert measured(audit(BOB, (0, 10), 1000), audit(BOB, (0, 10), 1, Verdict.FAIL)) == {}


def test_what_others_say_they_have_computed_again_counts_for_nothing():
    assert measured(audit(BOB, (0, 10), 30, by=CAROL.peer_id)) == {}


def test_blocks_that_were_never_looked_at_do_not_count():
    assert measured(audit(BOB, (0, 2), 10), audit(BOB, (1, 3), 10)) == {BOB.address: 3}


# --- ballots ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    with sqlite(tmp_path, RULES) as world:
        for ledger, amount in ((world.alice, 100), (world.bob, 10), (world.carol, 10)):
            world.issuer.mint(ledger.address, amount)
            ledger.bond(amount)
        yield world


@pytest.fixture
def make(world, tmp_path):
    """A validator of alice's, as one that is started again finds things."""
    return lambda ledger=world.alice, peers=list: Validator(ledger, tmp_path / "ballots", HOUR, peers)


def round_of(*audits: Audit) -> Round:
    return Round(Generation([1], audits=list(audits)))


def commits(ledger: Ledger) -> list[int]:
    return [entry.details["epoch"] for entry in ledger.history() if entry.kind == "commit"]


def shown(ledger: Ledger, epoch: int) -> dict:
    return {who: dict(scores) for who, scores in counted(epoch, revealed(ledger, epoch)).items()}


def pay(world: World) -> dict[bytes, int]:
    world.advance(61)
    return dict(Closer(world.issuer, PLAN).step().payments)


def test_it_commits_late_in_an_epoch_and_reveals_after_it(world, make):
    validator = make()
    validator.note(round_of(audit(BOB, (0, 10), 5), audit(CAROL, (10, 15), 5)))
    validator.attend()
    assert commits(world.bob) == []  # there may be more to measure
    world.advance(HOUR)
    validator.attend()
    validator.attend()
    assert commits(world.bob) == [0]
    assert shown(world.bob, 0) == {}
    world.issuer.end_commits(0)
    validator.attend()
    assert shown(world.bob, 0) == {world.alice.address: {BOB.address: MAX_SCORE, CAROL.address: 32768}}
    assert pay(world) == {world.alice.address: 500, BOB.address: 333, CAROL.address: 167}


def test_what_was_measured_counts_in_one_epoch(world, make):
    validator = make()
    for server in (BOB, CAROL):
        validator.note(round_of(audit(server, (0, 10), 5)))
        world.advance(HOUR)
        validator.attend()
        world.issuer.end_commits(len(commits(world.bob)) - 1)
    validator.attend()
    assert [list(shown(world.bob, epoch).values()) for epoch in (0, 1)] == [
        [{BOB.address: MAX_SCORE}], [{CAROL.address: MAX_SCORE}],
    ]  # fmt: skip


def test_who_has_measured_nothing_has_nothing_to_say(world, make):
    world.advance(HOUR)
    make().attend()
    assert commits(world.bob) == []


def test_a_server_that_stakes_less_than_its_price_calls_for_is_not_scored(world, make):
    asks = Quote(world.issuer.id, price=Price(0, 1))
    place = BOB.peer_id, "m", "r", 0, 10, 10
    peer = PeerInfo(*place, "float32", "none", "", pb.Endpoint(), pb.ONLINE, 0, 0, pb.Load(), asks=asks)
    validator = make(peers=lambda: [peer])
    validator.note(round_of(audit(BOB, (0, 10), 5), audit(CAROL, (0, 10), 5)))
    assert set(validator.scores()) == {CAROL.address}
    required = required_stake(Price(0, 1), 10)
    world.issuer.mint(BOB.address, required)
    world.bob.bond(required - 10)
    assert set(validator.scores()) == {BOB.address, CAROL.address}


def test_a_swarm_with_a_gap_does_not_keep_it_from_voting(world, make):
    def gap() -> list[PeerInfo]:
        raise NoRoute("no peer serves blocks 0:10")

    validator = make(peers=gap)
    validator.note(round_of(audit(BOB, (0, 10), 5)))
    world.advance(HOUR)
    validator.attend()
    assert commits(world.bob) == [0]


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_one_that_is_killed_around_its_commitment_reveals_what_it_committed_to(world, make, monkeypatch, is_done):
    first, commit = make(), world.alice.commit

    def killed(epoch: int, digest: bytes) -> None:
        if is_done:
            commit(epoch, digest)
        raise KeyboardInterrupt

    first.note(round_of(audit(BOB, (0, 10), 5)))
    world.advance(HOUR)
    monkeypatch.setattr(world.alice, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        first.attend()
    monkeypatch.undo()
    second = make()
    second.note(round_of(audit(CAROL, (0, 10), 5)))  # for what it committed to, it is too late for that
    second.attend()
    assert commits(world.bob) == [0]
    world.issuer.end_commits(0)
    make().attend()
    assert shown(world.bob, 0) == {world.alice.address: {BOB.address: MAX_SCORE}}


def test_a_ledger_that_does_not_answer_does_not_stop_an_auditor(world, make, monkeypatch):
    def broken(*_: object) -> Iterator:
        raise PeerUnreachable("gone")

    validator = make()
    monkeypatch.setattr(world.alice, "history", broken)
    validator.attend()


def test_a_full_disk_does_not_stop_it_either(world, make, tmp_path):
    (tmp_path / "ballots").write_text("no folder can be made here")
    validator = make()
    validator.note(round_of(audit(BOB, (0, 10), 5)))
    world.advance(HOUR)
    validator.attend()
    assert commits(world.bob) == []


def test_what_was_measured_counts_in_the_next_epoch_if_no_disk_took_it_in_time(world, make, tmp_path, monkeypatch):
    monkeypatch.setattr("swarm.market.rewards.committing.RETRY_S", 0.0)
    (tmp_path / "ballots").write_text("no folder can be made here")
    validator = make()
    validator.note(round_of(audit(BOB, (0, 10), 5)))
    world.advance(HOUR)
    validator.attend()
    world.issuer.end_commits(0)
    (tmp_path / "ballots").unlink()
    world.advance(HOUR)
    validator.attend()
    assert commits(world.bob) == [1]
    assert validator.scores() == {}  # and in no other


def test_a_ballot_that_comes_too_late_is_not_tried_for_ever(world, make, tmp_path):
    validator = make()
    validator.note(round_of(audit(BOB, (0, 10), 5)))
    world.advance(HOUR)
    spans = validator._committer._epochs.read()
    world.issuer.end_commits(0)
    validator._committer._epochs.read = lambda: spans  # as it was a moment ago
    validator.attend()
    assert commits(world.bob) == []
    make().attend()
    assert list((tmp_path / "ballots").iterdir()) == []


# --- on a real swarm, which is paid ----------------------------------------------------------------------------------


@pytest.fixture
def issuer(tmp_path, monkeypatch) -> Iterator[Ledger]:
    """This user's ledger, which pays, validates and closes epochs."""
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    ledger = open_ledger(str(tmp_path / "book"), client_identity())
    ledger.mint(ledger.address, 100 * CREDIT)
    ledger.bond(CREDIT)
    yield ledger
    ledger.shut()


def test_an_auditor_votes_on_a_paid_swarm_and_honest_servers_are_minted_by_their_blocks(tmp_path, issuer, capsys):
    where, plan = str(tmp_path / "book"), Plan(Rewards(FREE), emission=900)
    options = {"quant": "int4", "threads": 1, "ledger": where, "price": 100, "settle_every": 0.5}
    with swarm.LocalSwarm("demo", ["0:10", "10:30"], **options) as local:
        for server in local.servers:
            key = Identity.load_or_create(server.home / "identities" / "0.key")
            issuer.transfer(key.address, CREDIT)
            ledger = open_ledger(where, key)
            ledger.bond(CREDIT)
            ledger.shut()

        def audit_once(*more: str) -> dict:
            arguments = ["--peers", *local.peers, "--ledger", where, "--validator", "--epoch", "0", "--rounds", "1"]
            assert cli.main([*arguments, "--every", "0", "--budget", "60", "--json", *more]) == 0
            return json.loads(capsys.readouterr().out.splitlines()[-1])

        assert audit_once()["errors"] == 0
        assert Closer(issuer, plan).step().epoch == 0
        audit_once("--audit-rate", "0")  # started again, it reveals what it has committed to
    small, large = (address_of(server.peer_id) for server in local.servers)
    paid = payments_of(issuer, Epochs(issuer).read()[0], plan)
    assert paid == {small: 150, large: 300, issuer.address: 450}


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "say which, with --ledger"),
    (("--audit", "peers"), "leave --audit out"),
    (("--epoch", "nan"), "--epoch must be a number of seconds"),
])  # fmt: skip
def test_a_validator_without_what_it_needs_gets_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_LEDGER", raising=False)
    assert cli.main(["--validator", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
