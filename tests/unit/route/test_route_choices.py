"""What decides between chains: links, queues, prices; gaps and alternatives."""

import random
from dataclasses import replace

import pytest

from candidates import FAST, candidate, random_candidate, request
from swarm.errors import NoRoute
from swarm.route.costs import Link
from swarm.route.route import Chain, cost_chain, link_between
from swarm.route.search.chains import SLACK, best_chain, best_chains
from swarm.route.search.network import Network
from swarm.wire.formats.quotes import Price


def route(chain: Chain) -> list[tuple[str, int, int]]:
    return [(hop.peer.peer_id, hop.start, hop.stop) for hop in chain.hops]


# --- what counts -----------------------------------------------------------------------------------------------------


def test_the_link_back_to_the_client_counts():
    far = candidate("far", 6, 12, client=Link(0.2, 1e9), links={"first": FAST})
    near = candidate("near", 6, 12, decode_s=0.012, client=FAST, links={"first": FAST})
    chain = best_chain([candidate("first", 0, 6), far, near], 12, request())
    assert route(chain) == [("first", 0, 6), ("near", 6, 12)]


def test_a_peer_with_a_queue_is_avoided_by_a_slower_one_without():
    busy, idle = candidate("busy", 0, 12, queue_s=0.5), candidate("idle", 0, 12, decode_s=0.03)
    assert route(best_chain([busy, idle], 12, request())) == [("idle", 0, 12)]


def test_fresher_figures_of_some_peers_change_the_best_chain():
    network = Network([candidate("one", 0, 12), candidate("other", 0, 12, decode_s=0.011)], 12)
    assert route(best_chain(network, 12, request())) == [("one", 0, 12)]
    network.update([candidate("one", 0, 12, queue_s=0.1)])
    assert route(best_chain(network, 12, request())) == [("other", 0, 12)]
    network.update([candidate("other", 0, 12, decode_s=0.05)])
    chain = best_chain(network, 12, request())
    assert route(chain) == [("one", 0, 12)]
    assert chain == cost_chain(chain.hops, network.by_id, request())


def test_a_range_is_left_in_its_middle_where_a_faster_peer_begins():
    slow, fast = candidate("slow", 0, 12, decode_s=0.05), candidate("fast", 7, 12, decode_s=0.001)
    assert route(best_chain([slow, fast], 12, request())) == [("slow", 0, 7), ("fast", 7, 12)]


def test_a_range_is_entered_in_its_middle_too():
    fast, slow = candidate("fast", 0, 7, decode_s=0.001), candidate("slow", 3, 12, decode_s=0.05)
    assert route(best_chain([slow, fast], 12, request())) == [("fast", 0, 7), ("slow", 7, 12)]


def test_a_narrow_link_is_avoided_for_long_prompts_only():
    narrow, wide = candidate("narrow", 0, 12, client=Link(0.002, 1e6)), candidate("wide", 0, 12, decode_s=0.0105)
    assert route(best_chain([narrow, wide], 12, request(prompt_tokens=0))) == [("narrow", 0, 12)]
    assert route(best_chain([narrow, wide], 12, request(prompt_tokens=10_000))) == [("wide", 0, 12)]


def test_a_peer_that_comes_and_goes_is_avoided_where_its_loss_would_cost_more():
    fickle, steady = candidate("fickle", 0, 12, hazard_per_s=0.01), candidate("steady", 0, 12, decode_s=0.0101)
    assert route(best_chain([fickle, steady], 12, request(recovery_s=0.1))) == [("fickle", 0, 12)]
    assert route(best_chain([fickle, steady], 12, request(recovery_s=60.0))) == [("steady", 0, 12)]


def test_a_cheaper_peer_is_taken_for_what_price_is_worth_and_under_a_limit():
    dear = candidate("dear", 0, 12, price=Price(2, 2))
    cheap = candidate("cheap", 0, 12, decode_s=0.02, price=Price(1, 1))
    assert route(best_chain([dear, cheap], 12, request())) == [("dear", 0, 12)]
    assert route(best_chain([dear, cheap], 12, request(seconds_per_price=1.0))) == [("cheap", 0, 12)]
    chain = best_chain([dear, cheap], 12, request(max_price=110 * 18))  # half the blocks from each
    assert len(chain.hops) == 2
    assert chain.price == 110 * 18


def test_a_replacement_is_close_to_its_neighbours_in_the_chain():
    before, after = candidate("before", 0, 4, links={"there": FAST}), candidate("after", 8, 12)
    here = candidate("here", 4, 8, client=Link(0.001, 1e9), links={"before": Link(0.3), "after": Link(0.3)})
    there = candidate("there", 4, 8, client=Link(0.2), links={"after": FAST})
    wanted = request(start=4, stop=8)
    assert route(best_chain([here, there], 12, wanted)) == [("here", 4, 8)]
    assert route(best_chain([here, there], 12, replace(wanted, before=before, after=after))) == [("there", 4, 8)]


def test_a_link_that_both_ends_measured_is_as_bad_as_the_worse_says():
    left = candidate("left", 0, 6, links={"right": Link(0.01, 1e6)})
    right = candidate("right", 6, 12, links={"left": Link(0.03, 1e7)})
    assert link_between(left, right) == link_between(right, left) == Link(0.03, 1e6)


def test_a_link_that_nobody_measured_is_taken_from_those_to_the_client():
    left, right = candidate("left", 0, 6, client=Link(0.1, 1e6)), candidate("right", 6, 12, client=Link(0.01, 1e7))
    assert link_between(left, right) == Link(0.1, 1e6)


# --- no route --------------------------------------------------------------------------------------------------------


def test_missing_blocks_are_named():
    with pytest.raises(NoRoute, match=r"blocks 4:6 of"):
        best_chain([candidate("a", 0, 4), candidate("b", 6, 12)], 12, request())
    with pytest.raises(NoRoute, match=r"blocks 0:12 "):
        best_chain([], 12, request())


def test_only_gaps_in_the_part_to_replace_matter():
    swarm = [candidate("a", 2, 4), candidate("b", 6, 10)]
    assert route(best_chain(swarm, 12, request(start=7, stop=9))) == [("b", 7, 9)]
    with pytest.raises(NoRoute, match=r"blocks 4:5 "):
        best_chain(swarm, 12, request(start=2, stop=5))


def test_a_price_that_cannot_be_met_is_named():
    swarm = [candidate("a", 0, 8, price=Price(2, 2)), candidate("b", 4, 12, price=Price(1, 1))]
    with pytest.raises(NoRoute, match=r"at most 0\.0000001 credits.*110 tokens.*cheapest one costs 0\.00000176"):
        best_chain(swarm, 12, request(max_price=100))
    assert best_chain(swarm, 12, request(max_price=1760)).price == 1760


def test_a_prompt_and_new_tokens_have_each_their_price_and_batch_sessions_another():
    swarm = [candidate("reads", 0, 12, price=Price(1, 4)), candidate("writes", 0, 12, price=Price(3, 3))]
    swarm = [replace(one, idle_price=Price(0, 5 - one.price.decode)) for one in swarm]
    dear = {"seconds_per_price": 1.0}
    assert route(best_chain(swarm, 12, request(prompt_tokens=100, new_tokens=10, **dear))) == [("reads", 0, 12)]
    chain = best_chain(swarm, 12, request(prompt_tokens=10, new_tokens=100, **dear))
    assert route(chain) == [("writes", 0, 12)]
    assert chain.price == 12 * (10 * 3 + 100 * 3)
    chain = best_chain(swarm, 12, request(prompt_tokens=10, new_tokens=100, background=True, **dear))
    assert route(chain) == [("reads", 0, 12)]
    assert chain.price == 12 * 100


# --- alternatives ----------------------------------------------------------------------------------------------------


def test_alternatives_share_no_peer_where_equals_are_to_be_had():
    swarm = [candidate(f"{half}{index}", half, half + 6) for half in (0, 6) for index in range(3)]
    chains = best_chains(swarm, 12, request(), count=3)
    used = [name for chain in chains for name, _, _ in route(chain)]
    assert len(chains) == 3
    assert len(set(used)) == 6


def test_there_is_no_alternative_that_costs_more_than_the_slack():
    swarm = [candidate("good", 0, 12), candidate("bad", 0, 12, decode_s=0.02)]
    assert [route(chain) for chain in best_chains(swarm, 12, request())] == [[("good", 0, 12)]]
    assert len(best_chains(swarm, 12, request(), slack=3)) == 2


@pytest.mark.parametrize("max_price", [None, 1500.0])
def test_alternatives_differ_and_stay_within_slack_and_price(max_price):
    rng = random.Random(1)
    seen = 0
    for _ in range(100):
        names = [str(index) for index in range(12)]
        swarm = [random_candidate(rng, name, 6, names) for name in names]
        swarm.append(candidate("everything", 0, 6, decode_s=0.02, price=Price(2, 2)))
        chains = best_chains(swarm, 6, request(max_price=max_price), count=4)
        assert len({tuple(route(chain)) for chain in chains}) == len(chains)
        assert chains == sorted(chains, key=lambda chain: chain.seconds)
        assert chains[-1].seconds <= SLACK * chains[0].seconds * (1 + 1e-9)
        assert max_price is None or all(chain.price <= max_price * (1 + 1e-6) for chain in chains)
        seen += len(chains) - 1
    assert seen > 50
