"""This process's clock, and hivemind's."""

import ast
import sys
import time
from pathlib import Path

import hivemind
import pytest

from clock import Clock as Stopped
from swarm import clock
from swarm.clock import REACH_S, Clock, difference
from swarm.peers.dht import dht_time
from swarm.peers.directory import Directory, Rejections
from swarm.peers.record import check_times


@pytest.fixture
def machine() -> Stopped:
    return Stopped(1_000_000.0)


@pytest.fixture
def steady() -> Stopped:
    return Stopped(50.0)


def test_it_begins_as_the_machines_and_does_not_notice_when_that_is_set(machine, steady):
    own = Clock(machine, steady)
    assert own.now_s() == 1_000_000.0
    steady.now_s += 10
    machine.now_s += 10 - 300
    assert (own.now_s(), own.machine_ahead_s()) == (1_000_010.0, -300.0)
    own.shift(5.0)
    assert (own.now_s(), own.machine_ahead_s()) == (1_000_015.0, -305.0)


def test_it_runs_on_while_the_machine_sleeps():
    assert abs(Clock().steady_s() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    assert abs(clock.now_s() - time.time()) < 60


def test_who_has_nothing_else_follows_the_machine_bit_by_bit(machine, steady):
    own = Clock(machine, steady)
    machine.now_s += 300
    own.follow_machine(passed_s=10.0)
    assert own.now_s() == pytest.approx(1_000_000.005)
    for _ in range(700):
        own.follow_machine(passed_s=1_000.0)
    assert own.now_s() == machine.now_s


def test_a_machine_that_began_without_any_time_is_followed_at_once(machine, steady, caplog):
    own = Clock(machine, steady)
    machine.now_s += REACH_S + 86_400
    own.follow_machine(passed_s=10.0)
    assert own.machine_ahead_s() == 0.0
    assert "this machine's clock was set" in caplog.text


@pytest.mark.parametrize("seconds, text", [
    (1.2, "1 s"), (-62.0, "62 s"), (119.0, "119 s"), (300.0, "5 min"), (3_600.0, "60 min"), (10_800, "3.0 h"),
    (86_400.0, "1 day"), (-1e9, "11574.1 days"),
])  # fmt: skip
def test_differences_in_words(seconds, text):
    assert difference(seconds) == text


@pytest.mark.parametrize("unix_s", [0.0, -5.0, 1e9, 1e18, -1e18])
def test_any_moment_has_words(unix_s):
    assert clock.moment(unix_s)


def test_what_is_published_after_the_clock_was_set_back_replaces_what_was_there_if_it_may(machine, steady, monkeypatch):
    own = Clock(machine, steady)
    monkeypatch.setattr(clock, "CLOCK", own)
    directory = Directory(None, Rejections())
    _, before_ms = directory._times_ms(30.0)
    for by_s in (-5.0, -590.0):
        own.shift(by_s)
        issued_ms, expires_ms = directory._times_ms(30.0)
        check_times(issued_ms, expires_ms, own.now_s(), "a record")
    assert expires_ms == issued_ms + 600_000 < before_ms


# --- hivemind's ------------------------------------------------------------------------------------------------------


def test_nothing_in_hivemind_has_the_time_from_elsewhere(monkeypatch):
    loaded = [module for name, module in sys.modules.items() if name.partition(".")[0] == "hivemind"]
    for holder in dht_time.holders():
        monkeypatch.setattr(holder, "get_dht_time", holder.get_dht_time)  # to be restored
    dht_time.set_dht_time(lambda: 123.0)
    functions = [vars(module).get("get_dht_time") for module in loaded]
    assert len([one for one in functions if one]) >= 6
    assert all(one() == 123.0 for one in functions if one)
    assert [module.__name__ for module in loaded if time.time in map(_hashable, vars(module).values())] == []


def test_no_code_of_hivemind_that_is_used_here_asks_the_machine_what_time_it_is():
    folder, found = Path(hivemind.__file__).parent, []
    for file in [*folder.glob("dht/*.py"), *folder.glob("p2p/**/*.py"), *folder.glob("utils/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "time.time_ns", "datetime.now"):
                found.append(f"{file.relative_to(folder)}: {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                found.append(f"{file.relative_to(folder)}: {ast.unparse(node)}")
    assert found == ["utils/timed_storage.py: time.time"]


def _hashable(value: object) -> object:
    return value if callable(value) and not isinstance(value, type) else None
