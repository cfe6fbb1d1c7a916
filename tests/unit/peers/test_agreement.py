"""What time several clocks agree on."""

import random

import pytest
from hivemind.utils.multiaddr import Multiaddr
from hypothesis import given
from hypothesis import strategies as st

from swarm.clock import FOLLOW, REACH_S
from swarm.peers.dht.agreement import MACHINE_FOLLOW, ONE_TIME_S, Agreed, Own, Reading, agreed, move, votes
from swarm.peers.dht.timekeeper import site_of

NEWCOMER, MEMBER = Own(counts=False, machine_ahead_s=0.0), Own(counts=True, machine_ahead_s=0.0)

honest = st.floats(-0.4, 0.4)
said = st.floats(-1e9, 1e9)
anywhere = st.floats(-540.0, 540.0)


@given(anywhere, st.lists(honest, min_size=1, max_size=8), st.data())
def test_a_newcomer_comes_to_the_time_of_honest_peers_whatever_fewer_liars_say(time_s, errors, data):
    lies = data.draw(st.lists(said, max_size=len(errors) - 1))
    voted = [time_s + error for error in errors] + lies
    assert min(errors) - 1e-6 <= agreed(voted, NEWCOMER).ahead_s - time_s <= max(errors) + 1e-6


@given(st.lists(honest, max_size=8), st.data())
def test_a_member_stays_with_honest_members_whatever_fewer_liars_say(errors, data):
    lies = data.draw(st.lists(said, max_size=len(errors)))  # fewer than half of all with this one
    assert -0.4 <= agreed([*errors, *lies], MEMBER).ahead_s <= 0.4 if errors else True


@given(st.lists(said, min_size=1, max_size=9), st.booleans(), said, st.booleans(), st.floats(0, 1e6))
def test_nobody_is_ever_set_further_than_ten_minutes_off_its_machine(voted, counts, machine_ahead_s, patient, passed_s):
    own = Own(counts, machine_ahead_s, patient)
    step = move(agreed(voted, own).ahead_s, own, passed_s)
    if step.is_step:
        assert abs(step.by_s - machine_ahead_s) <= REACH_S
    else:
        assert (
            abs(step.by_s) <= min((FOLLOW + MACHINE_FOLLOW) * passed_s, ONE_TIME_S + MACHINE_FOLLOW * passed_s) + 1e-9
        )


def test_one_peer_is_believed_as_far_as_ten_minutes():
    assert move(agreed([590.0], NEWCOMER).ahead_s, NEWCOMER, 0.0).by_s == 590.0
    step = move(agreed([86_400.0], NEWCOMER).ahead_s, NEWCOMER, 0.0)
    assert step.out_of_reach and not step.by_s


def test_of_two_peers_that_differ_a_newcomer_believes_the_one_that_its_machine_does():
    assert agreed([0.1, 540.0], NEWCOMER) == Agreed(0.1, is_split=True)
    assert agreed([-540.0, 30.0], NEWCOMER) == Agreed(30.0, is_split=True)


def test_who_followed_a_liar_comes_back_when_it_meets_two_honest_peers():
    deceived = Own(counts=True, machine_ahead_s=-540.0)
    assert agreed([0.0], deceived).ahead_s == 0.0
    assert agreed([0.0, -540.0, -540.0], deceived).ahead_s == -540.0


def test_a_newcomer_moves_no_member():
    assert move(agreed([540.0], MEMBER).ahead_s, MEMBER, 30.0).by_s == 0.0
    assert move(agreed([0.0, 540.0], MEMBER).ahead_s, MEMBER, 30.0).by_s == 0.0


def test_a_machine_whose_clock_is_set_does_not_matter_among_others():
    jumped = Own(counts=True, machine_ahead_s=300.0)
    for voted in ([0.0], [0.0, 0.1], [0.0, 0.0, 0.0]):
        assert abs(move(agreed(voted, jumped).ahead_s, jumped, 30.0).by_s) < 0.02


def test_a_machine_that_stood_still_comes_back_with_the_majority_or_with_its_own_clock():
    assert move(agreed([40.0, 40.0], MEMBER).ahead_s, MEMBER, 30.0).by_s == 40.0
    set_right = Own(counts=True, machine_ahead_s=40.0)
    assert move(agreed([40.0], set_right).ahead_s, set_right, 30.0).by_s == 40.0


def test_two_that_nobody_else_sets_right_meet_in_the_end_at_the_one_that_lost_no_time():
    for ahead_s, goes_to in ((40.0, 40.0), (-40.0, 0.0)):
        assert agreed([ahead_s], MEMBER).ahead_s == 0.0
        assert agreed([ahead_s], Own(True, 0.0, may_break_ties=True)).ahead_s == goes_to


def test_a_crowd_at_one_address_has_one_vote():
    crowd = [Reading("192.0.2.1", 540.0) for _ in range(20)]
    others = [Reading(f"192.0.2.{host}", 0.0) for host in (2, 3)]
    assert sorted(votes(crowd + others)) == [0.0, 0.0, 540.0]


@given(st.floats())
def test_whatever_an_answer_says_it_is_a_number_or_nothing(told_s):
    reading = Reading.of("192.0.2.1", told_s, 1_000_000.0, 0.5)
    assert reading is None or abs(agreed(votes([reading]), NEWCOMER).ahead_s) <= 1e10


def test_an_answer_is_made_half_way():
    assert Reading.of("192.0.2.1", 1_000_005.0, 1_000_000.0, 2.0) == Reading("192.0.2.1", 4.0, 1.0)
    for nothing in (0.0, float("nan"), float("inf"), -float("inf"), 1e300):
        assert Reading.of("192.0.2.1", nothing, 1_000_000.0, 2.0) is None


@pytest.mark.parametrize("ahead_s, doubt_s, surely_s", [(5.0, 4.0, 1.0), (-5.0, 4.0, -1.0), (0.3, 2.0, 0.0)])
def test_what_a_slow_answer_leaves_open_moves_nothing(ahead_s, doubt_s, surely_s):
    assert Reading("192.0.2.1", ahead_s, doubt_s).surely_ahead_s == pytest.approx(surely_s)


def live(machines: list[float], liars: list[float], days: float, drift: float = 0.0, founder: int = 0) -> list[float]:
    """How far off each of a swarm's clocks is in the end. machines: by how much the clocks of honest machines are off.
    liars: by how much others say that it is later. drift: at most, seconds a second."""
    rng, step_s = random.Random(1), 300.0
    rates = [rng.uniform(-drift, drift) for _ in machines]
    clocks = [machines[founder]] * len(machines)  # all came to the founder's
    for round_ in range(int(days * 86_400 / step_s)):
        for index in range(len(clocks)):
            clocks[index] += rates[index] * step_s
            others = [clock - clocks[index] for clock in clocks[:index] + clocks[index + 1 :]]
            machine_s = machines[index] + rates[index] * step_s * (round_ + 1)
            own = Own(True, machine_s - clocks[index])
            ahead_s = agreed([other + rng.uniform(-0.02, 0.02) for other in others] + liars, own).ahead_s
            clocks[index] += move(ahead_s, own, step_s).by_s
    return clocks


def test_clocks_that_drift_apart_are_kept_together():
    assert max(live([0.0] * 5, [], days=10, drift=50e-6)) - min(live([0.0] * 5, [], days=10, drift=50e-6)) < 0.5
    assert max(live([0.0] * 2, [], days=10, drift=50e-6)) - min(live([0.0] * 2, [], days=10, drift=50e-6)) < 0.5


def test_a_swarm_that_was_founded_by_a_wrong_clock_comes_to_the_time_of_its_machines():
    assert all(abs(clock) < 1.0 for clock in live([500.0, 0.1, -0.2, 0.0, 0.1], [], days=90))


def test_liars_pull_no_swarm_away_from_its_machines():
    assert all(abs(clock) < 1.0 for clock in live([0.0, 0.1, -0.1, 0.2], [0.9, 540.0, 540.0], days=30))


@pytest.mark.parametrize("address, site", [
    ("/ip4/192.0.2.7/tcp/4711", "192.0.2.7"), ("/ip6/2001:db8:1:2:3:4:5:6/tcp/4711", "2001:db8:1:2::/64"),
    ("/ip4/192.0.2.7/tcp/4711/p2p/16Uiu2HAmNQ49VdueRfCyyELaunGkJqsjV1S1jbvMZwK2rY3TiUFv/p2p-circuit", "192.0.2.7"),
])  # fmt: skip
def test_one_network_is_one_site(address, site):
    assert site_of([Multiaddr(address)]) == site
