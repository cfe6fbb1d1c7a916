"""Whom a node remembers, and when it calls on those that are silent."""

import json

import pytest

from clock import Clock
from swarm.peers.dht.acquaintances import (
    HERE_S,
    LAST_PAUSE_S,
    LONG_GONE_S,
    MOST,
    RARELY_S,
    Acquaintances,
)

PLACE = "/ip4/192.0.2.1/tcp/4001"


def given(*names: str) -> list[str]:
    return [f"{PLACE}/p2p/{name}" for name in names]


def calls(known: Acquaintances, clock: Clock, seconds: float) -> int:
    """How often the only one is called in that time."""
    count, end = 0, clock.now_s + seconds
    while clock.now_s < end:
        clock.now_s += 0.5
        count += len(known.to_call(()))
    return count


def test_the_silent_are_called_soon_then_less_often_and_the_present_never():
    clock = Clock(1_000.0)
    known = Acquaintances(clock=clock)
    known.met("there", [PLACE])
    assert known.to_call(["there"]) == {}
    assert known.to_call(()) == {"there": (PLACE,)}
    assert known.to_call(()) == {}  # it has had its turn
    minute = calls(known, clock, 60.0)
    assert 3 <= minute <= 10
    assert calls(known, clock, 60.0) <= minute
    assert calls(known, clock, 10 * LAST_PAUSE_S) >= 10 / 1.5
    clock.now_s += LONG_GONE_S
    calls(known, clock, RARELY_S)
    assert 3 <= calls(known, clock, 5 * RARELY_S) <= 8
    known.met("there", [PLACE])  # and from then on it is as it was
    assert calls(known, clock, 10.0) >= 2


def test_they_outlive_the_process_and_a_node_that_is_told_nothing_new_stays_in_its_swarm(tmp_path):
    file = tmp_path / "deep" / "known.json"
    first = Acquaintances(file)
    assert not first.give(given("a"))  # nobody was known
    first.met("b", ["/ip4/192.0.2.2/tcp/1"])
    first.save()
    for names in ((), ("b",), ("a",), ("a", "new")):
        again = Acquaintances(file)
        assert again.give(given(*names)), names
        assert set(again.addresses()) == {
            "/ip4/192.0.2.2/tcp/1/p2p/b",
            *given("a"),
            *(given("b") if "b" in names else ()),
            *(given("new") if "new" in names else ()),
        }


def test_another_swarm_is_not_mixed_up_with_the_last_one(tmp_path):
    file = tmp_path / "known.json"
    first = Acquaintances(file)
    first.give(given("a"))
    first.met("b", [PLACE])
    first.save()
    mistaken = Acquaintances(file)
    assert not mistaken.give(given("stranger"))
    assert mistaken.addresses() == given("stranger")
    mistaken.save()
    again = Acquaintances(file)  # as nobody answered there, it is as if it had not been
    assert again.give(())
    other = Acquaintances(file)
    assert not other.give(given("stranger"))
    other.met("stranger", [PLACE])
    other.save()
    assert Acquaintances(file).addresses() == given("stranger")


def test_whoever_went_silent_is_not_forgotten_for_a_crowd_that_is_here():
    """The other half of a large swarm, after an outage; or all of a small one, after the coming of many strangers."""
    clock = Clock(1_000.0)
    known = Acquaintances(clock=clock)
    lost = [f"lost{number}" for number in range(MOST // 2)]
    for name in lost:
        known.met(name, [PLACE])
    clock.now_s += 2 * HERE_S
    for _ in range(2):
        for number in range(2 * MOST):
            known.met(f"here{number}", [PLACE])
    assert len(known) == MOST
    assert set(lost) <= known.to_call(()).keys()


def test_those_given_keep_their_place_in_a_crowd_and_their_name_beside_their_address():
    clock = Clock(1.0)
    known = Acquaintances(clock=clock)
    known.give(["/dns4/swarm.example/tcp/1/p2p/given"])
    known.met("given", ["/ip4/192.0.2.7/tcp/1"])
    for number in range(3 * MOST):
        clock.now_s += 1
        known.met(f"passing{number}", [PLACE])
    assert len(known) == MOST
    addresses = known.addresses()
    assert addresses[0].endswith(f"/passing{3 * MOST - 1}")  # who was met last comes first
    assert addresses[-2:] == ["/ip4/192.0.2.7/tcp/1/p2p/given", "/dns4/swarm.example/tcp/1/p2p/given"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"a": 1}', '{"a": {"seen": 1, "given": [], "met_s": 0}}', '{"a": {"seen": []}}', "\x00", "null"],
)
def test_a_file_that_is_none_is_as_good_as_none(tmp_path, text):
    file = tmp_path / "known.json"
    file.write_text(text)
    known = Acquaintances(file)
    assert len(known) == 0
    known.met("a", [PLACE])
    known.save()
    assert list(json.loads(file.read_text())) == ["a"]


def test_a_file_that_cannot_be_written_harms_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    known = Acquaintances(tmp_path / "file" / "below" / "known.json")
    known.met("a", [PLACE])
    known.save()
    assert len(known) == 1
