"""The simulated swarm keeps its books, and routing by measured costs is faster in it than what it is compared with."""

import itertools
import math
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulate.peers import Place, Session, link
from harness.simulate.policies import Balanced, fewest, fewest_hops, petals
from harness.simulate.scenarios import Scenario
from harness.simulate.world import Simulation
from swarm.errors import NoRoute
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.wire import messages_pb2 as pb

SMALL = Scenario("small", peers=20, requests=60, num_blocks=12, widths=(3, 6), speeds=0.6, regions=3, region_size=0.02)
MORTAL = replace(SMALL, name="mortal", life_s=60.0)
POLICIES = {"balanced": Balanced(), "fewest": fewest, "petals": petals}


def simulate(scenario: Scenario, policy) -> tuple[Simulation, list[Session]]:
    simulation = Simulation(scenario.world(), policy)
    return simulation, simulation.run()


def outcome(sessions: list[Session]) -> list[tuple]:
    return [
        (session.ended_s, session.made, session.losses, [(part.peer.peer_id, part.start) for part in session.parts])
        for session in sessions
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_ends_with_all_its_tokens_or_is_reported_failed(policy):
    _, sessions = simulate(MORTAL, POLICIES[policy])
    assert len(sessions) == MORTAL.requests
    for session in sessions:
        assert not math.isnan(session.ended_s)
        assert session.failed or session.made == session.arrival.new_tokens
    assert sum(session.losses for session in sessions) > 0
    assert sum(session.failed for session in sessions) < MORTAL.requests / 10


@pytest.mark.parametrize("policy", POLICIES)
def test_at_every_step_a_session_is_on_living_peers_that_cover_the_model(policy, monkeypatch):
    steps = 0
    step = Simulation._next_chunk

    def checked(self: Simulation, session: Session) -> None:
        nonlocal steps
        steps += 1
        edges = [0, *(part.stop for part in session.parts)]
        assert [part.start for part in session.parts] == edges[:-1]
        assert edges[-1] == MORTAL.num_blocks
        for part in session.parts:
            assert part.peer.alive
            assert part.peer.sessions[session.number] is session
            assert part.peer.info.start <= part.start < part.stop <= part.peer.info.stop
        step(self, session)

    monkeypatch.setattr(Simulation, "_next_chunk", checked)
    simulate(MORTAL, POLICIES[policy])
    assert steps > MORTAL.requests


def test_nothing_is_left_on_any_peer_at_the_end():
    simulation, _ = simulate(MORTAL, Balanced())
    for peer in simulation.peers.values():
        assert not peer.sessions
        assert peer.decoding == 0
        assert (peer.rate, peer.work, peer.prefilling) == pytest.approx((0, 0, 0), abs=1e-6)


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, again = (outcome(simulate(MORTAL, Balanced())[1]) for _ in range(2))
    assert first == again
    assert first != outcome(simulate(replace(MORTAL, seed=1), Balanced())[1])


def test_a_lone_session_takes_its_computing_and_its_links():
    scenario = replace(SMALL, requests=1)
    simulation, (session,) = simulate(scenario, Balanced())
    compute_s = sum(part.blocks * part.peer.info.costs.decode_s[0] for part in session.parts)
    client = simulation._world.sites[session.arrival.site]
    places = [client, *(part.peer.place for part in session.parts), client]
    links_s = sum(link(a, b).one_way_s(scenario.token_bytes) for a, b in itertools.pairwise(places))
    assert session.token_s == pytest.approx(compute_s + links_s)


def test_sessions_on_one_peer_slow_each_other_down_by_less_than_turns_would():
    alone, crowd = (
        simulate(Scenario("one peer", peers=1, requests=count, widths=(32, 32), arrivals_per_s=1e3), fewest)[1]
        for count in (1, 16)
    )
    slowest = max(session.token_s for session in crowd)
    assert 1.5 * alone[0].token_s < slowest < 16 * alone[0].token_s


def test_links_are_as_long_as_the_way_and_as_wide_as_the_narrower_line():
    near, far = Place(0, 0, 1e6), Place(3, 4, 1e7)
    assert link(near, far) == link(far, near)
    assert link(near, far).bytes_per_s == 1e6
    assert link(near, far).round_trip_s > 100 * link(near, near).round_trip_s


def test_a_request_for_which_no_way_is_found_fails_and_the_others_go_on():
    def picky(view, request):
        if request.prompt_tokens % 2:
            raise NoRoute("odd")
        return fewest(view, request)

    _, sessions = simulate(SMALL, picky)
    assert {session.failed for session in sessions} == {False, True}
    assert all(session.failed == bool(session.arrival.prompt_tokens % 2) for session in sessions)


def test_a_peer_without_room_refuses_and_its_client_looks_elsewhere():
    def crowding(view, request):
        whole = [one.peer for one in view.network.candidates]
        return [Hop(min(whole, key=lambda peer: int(peer.peer_id[4:])), request.start, request.stop)]

    scenario = Scenario("two peers", peers=2, requests=80, widths=(32, 32), arrivals_per_s=1e3)
    _, sessions = simulate(scenario, crowding)
    used = [session.parts[0].peer.peer_id for session in sessions if not session.failed]
    assert used.count("peer0") >= 64
    assert used.count("peer1") > 0


def test_routing_by_measured_costs_makes_tokens_faster_than_both_baselines():
    scenario = replace(SMALL, requests=150, arrivals_per_s=0.1)
    mean_s = {}
    for name, policy in POLICIES.items():
        _, sessions = simulate(scenario, policy)
        mean_s[name] = statistics.mean(session.token_s for session in sessions if not session.failed)
    assert mean_s["balanced"] < 0.9 * min(mean_s["fewest"], mean_s["petals"])


# --- the fewest hops -------------------------------------------------------------------------------------------------

ranges = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda r: r[0] < r[1]), max_size=7)


def serving(name: str, start: int, stop: int) -> PeerInfo:
    return PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())


def brute_force(peers: list[PeerInfo], num_blocks: int) -> int | None:
    """The fewest hops of any chain, by trying all of them."""
    for length in range(1, len(peers) + 1):
        for chain in itertools.permutations(peers, length):
            block = 0
            for hop in chain:
                if not hop.start <= block < hop.stop:
                    break
                block = hop.stop
            else:
                if block >= num_blocks:
                    return length
    return None


@given(ranges, st.integers())
def test_the_chain_covers_the_model_with_the_fewest_hops(blocks, seed):
    peers = [serving(str(index), *r) for index, r in enumerate(blocks)]
    best = brute_force(peers, 12)
    if best is None:
        with pytest.raises(NoRoute):
            fewest_hops(peers, 12, random.Random(seed))
        return
    chain = fewest_hops(peers, 12, random.Random(seed))
    assert len(chain) == best
    assert [hop.start for hop in chain] == [0] + [hop.stop for hop in chain[:-1]]
    assert chain[-1].stop == 12
    assert all(hop.peer.start <= hop.start < hop.stop <= hop.peer.stop for hop in chain)
