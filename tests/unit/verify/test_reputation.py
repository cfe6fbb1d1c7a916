"""A peer's standing: what events do to it, and the store that processes share."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from disks import locked
from swarm.peers.estimates import Estimates
from swarm.route.costs import PeerCosts
from swarm.route.peer import PeerInfo
from swarm.storage.writer import CLOSE_S
from swarm.verify.reputation.file import News, ReputationFile
from swarm.verify.reputation.standing import HALF_LIFE_S, MAX_SLOWDOWN, NEWCOMER_SEGMENTS, STRANGER, Event, Standing
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import messages_pb2 as pb

DAY_S = 86_400.0
BAD = [event for event in Event if event not in (Event.GOOD, Event.AUDIT_PASSED)]
histories = st.lists(st.tuples(st.sampled_from(Event), st.floats(0, 3 * DAY_S)), max_size=60)


def after(history: list[tuple[Event, float]], standing: Standing = STRANGER) -> Standing:
    """history: events, and the seconds before each."""
    now_s = standing.noted_s
    for event, pause_s in history:
        now_s += pause_s
        standing = standing.after(event, now_s)
    return standing


# --- the standing ----------------------------------------------------------------------------------------------------


@given(histories, st.sampled_from(BAD))
def test_misbehaviour_never_improves_a_standing_and_good_work_never_harms_it(history, bad):
    then = after(history)
    worse, better = then.after(bad, then.noted_s), then.after(Event.GOOD, then.noted_s)
    assert better.slowdown <= then.slowdown <= worse.slowdown
    assert better.audit_rate <= then.audit_rate <= worse.audit_rate
    assert worse.is_shunned >= then.is_shunned
    assert worse.is_credible <= then.is_credible


@given(histories)
def test_whatever_happens_the_consequences_are_bounded(history):
    standing = after(history * 20)
    assert 1 <= standing.slowdown <= MAX_SLOWDOWN
    assert 0.05 <= standing.audit_rate <= 1
    assert 0 < standing.reliability < 1


@given(histories)
def test_in_time_everyone_is_a_stranger_again(history):
    then = after(history)
    later = then.at(then.noted_s + 12 * HALF_LIFE_S)
    assert later.slowdown == pytest.approx(STRANGER.slowdown, abs=0.1)
    assert (later.is_shunned, later.is_suspect, later.is_credible) == (False, False, True)
    for days in range(0, 84, 7):  # and on the way there it never overshoots
        between = then.at(then.noted_s + days * DAY_S)
        low, high = sorted((then.slowdown, STRANGER.slowdown))
        assert low - 1e-9 <= between.slowdown <= high + 1e-9


@given(st.integers(0, 1000), st.integers(0, 20))
def test_a_fresh_key_gains_nothing_beyond_a_stranger(good, faults):
    """It may rid a peer of a bad name; a good one it throws away, and whoever has proven itself is preferred to it."""
    proven = after([(Event.GOOD, 0.0)] * good)
    assert proven.slowdown <= STRANGER.slowdown
    assert after([(Event.FAULT, 0.0)] * faults).slowdown >= STRANGER.slowdown
    assert STRANGER.audit_rate == 0.2
    assert 1.0 < STRANGER.slowdown < 1.1


def test_strangers_are_audited_more_and_suspects_ten_times_as_much():
    stranger = after([(Event.GOOD, 60.0)] * (NEWCOMER_SEGMENTS - 1))
    proven = stranger.after(Event.GOOD, stranger.noted_s)
    assert (stranger.audit_rate, proven.audit_rate) == (0.2, 0.05)
    suspect = proven.after(Event.AUDIT_SUSPECT, proven.noted_s)
    assert suspect.audit_rate == pytest.approx(0.5)
    assert stranger.after(Event.AUDIT_SUSPECT, stranger.noted_s).audit_rate == 1.0
    assert suspect.at(suspect.noted_s + 1.01 * HALF_LIFE_S).audit_rate == 0.05


@given(histories)
def test_an_accusation_alone_makes_a_suspect_and_nothing_worse(history):
    then = after(history)
    accused = then.after(Event.ACCUSED, then.noted_s)
    assert accused.is_suspect
    assert (accused.slowdown, accused.is_shunned) == (then.slowdown, then.is_shunned)


def test_a_long_good_record_is_no_licence_to_cheat():
    honest = after([(Event.GOOD, 1.0)] * 10_000)
    assert honest.slowdown < 1.01
    assert after([(Event.FAULT, 1.0)] * 16, honest).slowdown > 1.02
    assert honest.after(Event.AUDIT_FAILED, honest.noted_s).is_shunned


# --- the search for a chain ------------------------------------------------------------------------------------------


def test_a_peer_of_bad_standing_must_be_that_much_faster_to_look_as_fast():
    costs = PeerCosts(decode_s=(0.002,), prefill_s=0.001, queue_s=0.003)
    info = PeerInfo("a", "m", "r", 0, 10, 30, "float32", "none", "", pb.Endpoint(), pb.ONLINE, 0, 0, pb.Load(), costs)
    slowdown = after([(Event.FAULT, 0.0)] * 16).slowdown
    trusted, mistrusted = (Estimates().candidate(info, 0.0, {}, slowdown=factor) for factor in (1.0, slowdown))
    for figure in ("decode_s", "prefill_s", "queue_s"):
        assert getattr(mistrusted, figure) == pytest.approx(slowdown * getattr(trusted, figure))
    assert mistrusted.client.one_way_s(1000) == pytest.approx(slowdown * trusted.client.one_way_s(1000))


def test_what_was_measured_in_another_life_counts_until_something_is_measured_in_this():
    estimates = Estimates()
    estimates.remember("a", 1.5, now_s=0.0)
    assert estimates.factor("a", 0.0) == pytest.approx(2.718, abs=0.01)
    estimates.remember("a", -2.0, now_s=1.0)
    assert estimates.factor("a", 1.0) > 2.7


# --- the store ------------------------------------------------------------------------------------------------------


def test_what_is_known_of_a_peer_outlives_the_process(tmp_path):
    reputation = ReputationStore(tmp_path / "standing.sqlite")
    for event in (Event.GOOD, Event.GOOD, Event.CRASH):
        reputation.observe("a", event)
    reputation.observe_speed("a", 0.5)
    reputation.keep_statistic("a", b"\x00 opaque")
    reputation.convict("b", "equivocation", b"proof")
    reputation.close()
    later = ReputationStore(tmp_path / "standing.sqlite")
    standing = later.standing("a")
    assert (standing.good, standing.crashes, standing.lag, standing.segments) == pytest.approx((2, 1, 0.5, 2), rel=1e-3)
    assert later.statistic("a") == b"\x00 opaque"
    assert later.is_shunned("b")
    assert not later.is_shunned("a")
    assert later.standing("nobody") == STRANGER
    later.close()


def test_a_conviction_is_for_good_however_well_the_peer_behaves_then(tmp_path):
    now_s = [0.0]
    reputation = ReputationStore(now=lambda: now_s[0])
    reputation.convict("a", "audit", b"digest")
    for _ in range(1000):
        reputation.observe("a", Event.GOOD)
    now_s[0] = 100 * HALF_LIFE_S
    assert reputation.is_shunned("a")


WRITER = """
import sys
from pathlib import Path
from swarm.verify.reputation.store import ReputationStore
from swarm.verify.reputation.standing import Event
reputation = ReputationStore(Path(sys.argv[1]))
for _ in range(500):
    reputation.observe("a", Event.GOOD)
reputation.observe(sys.argv[2], Event.FAULT)
reputation.close()
"""


def test_several_processes_write_one_store_and_none_loses_what_another_wrote(tmp_path):
    path = tmp_path / "standing.sqlite"
    mine = ReputationStore(path)
    names = ["x", "y", "z"]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in names]
    mine.observe("a", Event.GOOD)
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    mine.close()  # which also takes over what the others wrote
    assert mine.standing("a").segments == 1501
    assert all(mine.standing(name).faults > 0.9 for name in names)


def test_a_conviction_is_heard_of_though_the_machines_clock_was_set_back(tmp_path, monkeypatch):
    machine = Clock(1_000_000.0)
    monkeypatch.setattr(time, "time", machine)
    reader, writer = (ReputationFile(tmp_path / "standing.sqlite") for _ in range(2))
    reader.exchange(News())
    machine.now_s -= 300
    writer.exchange(News(convictions={"peer": ("receipts", b"proof")}))
    machine.now_s += 1
    assert reader.exchange(News()).convictions == {"peer": "receipts"}
    reader.close()
    writer.close()


def test_a_file_that_is_locked_costs_no_observation(tmp_path):
    path = tmp_path / "standing.sqlite"
    reputation = ReputationStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    reputation._file._file.get().execute("PRAGMA busy_timeout=10")
    reputation.observe("a", Event.FAULT)
    reputation.flush()
    assert reputation.standing("a").faults > 0.9
    other.execute("COMMIT")
    other.close()
    reputation.close()
    later = ReputationStore(path)
    assert later.standing("a").faults > 0.9
    later.close()


def test_what_is_observed_goes_into_the_file_that_is_there_now(tmp_path):
    """It used to be written into one that had been moved away."""
    home = tmp_path / "home"
    with closing(ReputationStore(home / "standing.sqlite")) as reputation:
        home.rename(tmp_path / "old")
        shutil.copytree(tmp_path / "old", tmp_path / "copy")
        reputation.observe("a", Event.FAULT)
        reputation.flush()
        assert not home.exists()
        (tmp_path / "copy").rename(home)
    with closing(ReputationStore(home / "standing.sqlite")) as later:
        assert later.standing("a").faults > 0.9


def test_the_end_does_not_wait_for_a_file_that_stays_locked(tmp_path):
    reputation = ReputationStore(tmp_path / "standing.sqlite")
    with locked(tmp_path / "standing.sqlite"):
        reputation.observe("a", Event.FAULT)
        begun_s = time.monotonic()
        reputation.close()
        assert time.monotonic() - begun_s < CLOSE_S + 0.5


@pytest.mark.parametrize("damage", ["no database", "no folder"])
def test_a_store_that_cannot_be_used_is_kept_in_memory(tmp_path, damage, caplog):
    path = tmp_path / "standing.sqlite"
    path.write_bytes(b"this is no database, and longer than the header of one" * 50)
    reputation = ReputationStore(path if damage == "no database" else path / "below a file")
    reputation.observe("a", Event.FAULT)
    reputation.convict("b", "audit", b"digest")
    assert reputation.standing("a").faults > 0.9
    assert reputation.is_shunned("b")
    assert "is forgotten at the end" in caplog.text
    assert ("move it away" in caplog.text) == (damage == "no database")
    reputation.close()


def test_a_row_of_another_version_is_a_strangers(tmp_path):
    path = tmp_path / "standing.sqlite"
    ReputationStore(path).close()
    with sqlite3.connect(path) as database:
        rows = zip("abcd", ['{"fame": 1}', "junk", "7", '{"good": "many"}'], strict=True)
        database.executemany("INSERT INTO standing VALUES (?, 1e12, ?)", rows)
    database.close()
    reputation = ReputationStore(path)
    assert [reputation.standing(name).slowdown for name in "abcd"] == [STRANGER.slowdown] * 4
    reputation.close()


def test_the_store_forgets_who_was_dealt_with_longest_ago(monkeypatch, tmp_path):
    monkeypatch.setattr("swarm.verify.reputation.store.MAX_PEERS", 3)
    monkeypatch.setattr("swarm.verify.reputation.file.MAX_PEERS", 3)
    reputation = ReputationStore(tmp_path / "standing.sqlite")
    for name in "abcad":
        reputation.observe(name, Event.FAULT)
    assert [reputation.standing(name).faults > 0 for name in "abcd"] == [True, False, True, True]
    reputation.close()
    with sqlite3.connect(tmp_path / "standing.sqlite") as database:
        assert database.execute("SELECT count(*) FROM standing").fetchone() == (3,)
    database.close()


def test_an_elder_standing_decays_before_it_is_added_to():
    then = replace(STRANGER, faults=4.0, noted_s=1000.0)
    assert then.after(Event.FAULT, 1000.0 + HALF_LIFE_S).faults == pytest.approx(3.0)
    assert then.at(0.0) == then  # a clock that was set back


def test_what_peers_report_is_held_against_the_peer_that_it_is_about():
    reputation = ReputationStore(now=lambda: 0.0)
    reputation.crashed("crashed")
    reputation.faulted("faulty")
    reputation.observe_speed("slow", 0.5)
    assert (reputation.standing("crashed").crashes, reputation.standing("crashed").faults) == (1.0, 0.0)
    assert (reputation.standing("faulty").crashes, reputation.standing("faulty").faults) == (0.0, 1.0)
    assert (reputation.lag("slow"), reputation.lag("stranger")) == (0.5, 0.0)
    assert reputation.slowdown("faulty") > reputation.slowdown("stranger")
