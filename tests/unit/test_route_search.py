"""The search for the cheapest chain against trying every chain there is."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from swarm.errors import NoRoute
from swarm.route.costs import Link
from swarm.route.peer import PeerInfo
from swarm.route.route import Candidate, Chain, Request, cost_chain, link_between
from swarm.route.search.chains import SLACK, best_chain, best_chains
from swarm.route.search.network import Network
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price

FAST = Link(0.002, 1e9)


def candidate(name: str, start: int, stop: int, **figures: object) -> Candidate:
    info = PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())
    figures = {"decode_s": 0.01, "prefill_s": 0.001, "queue_s": 0.0, "client": FAST, **figures}
    return Candidate(info, **figures)


def request(**changes: object) -> Request:
    return replace(Request(prompt_tokens=10, new_tokens=100, token_bytes=1000), **changes)


def route(chain: Chain) -> list[tuple[str, int, int]]:
    return [(hop.peer.peer_id, hop.start, hop.stop) for hop in chain.hops]


# --- against brute force ---------------------------------------------------------------------------------------------


def random_link(rng: random.Random) -> Link:
    return Link(rng.choice([0.001, 0.02, 0.1]) * rng.uniform(0.5, 2), rng.choice([1e5, 1e6, 1e8]) * rng.uniform(0.5, 2))


def random_candidate(rng: random.Random, name: str, num_blocks: int, others: Sequence[str]) -> Candidate:
    start = rng.randrange(num_blocks)
    return candidate(
        name,
        start,
        rng.randint(start + 1, num_blocks),
        decode_s=rng.uniform(0.001, 0.02),
        prefill_s=rng.uniform(0.0001, 0.001),
        queue_s=rng.choice([0, 0, rng.uniform(0, 0.1)]),
        client=random_link(rng),
        links={other: random_link(rng) for other in others if other != name and rng.random() < 0.4},
        price=Price(rng.choice([0, 1, rng.randint(0, 5)]), rng.choice([0, 1, rng.randint(0, 50)])),
        hazard_per_s=rng.choice([0, rng.uniform(0, 0.1)]),
    )


def random_swarm(rng: random.Random) -> tuple[list[Candidate], int, Request]:
    num_blocks = rng.randint(1, 5)
    names = [str(index) for index in range(rng.randint(1, 8))]
    swarm = [random_candidate(rng, name, num_blocks, [*names, "before", "after"]) for name in names]
    start, stop = sorted(rng.sample(range(num_blocks + 1), 2)) if rng.random() < 0.4 else (0, None)

    def end(name: str) -> Candidate | None:
        choices = [None, rng.choice(swarm), random_candidate(rng, name, num_blocks, names)]
        return rng.choice(choices) if stop is not None else None

    wanted = Request(
        prompt_tokens=rng.choice([0, 1, 500]),
        new_tokens=rng.choice([0, 1, 50]),
        token_bytes=rng.choice([100, 10_000]),
        seconds_per_price=rng.choice([0, 0, 0.001, 0.1]),
        recovery_s=rng.uniform(0, 10),
        token_s=rng.uniform(0.01, 1),
        start=start,
        stop=stop,
        before=end("before"),
        after=end("after"),
    )
    return swarm, num_blocks, wanted


def leg(left: Candidate | None, right: Candidate | None) -> tuple[float, float]:
    """Round trip and seconds per byte; None: the client."""
    if left is None or right is None:
        link = (left or right).client
        return link.round_trip_s, 1 / link.bytes_per_s
    a, b = left.peer.peer_id, right.peer.peer_id
    if a == b:
        return 0.0, 0.0
    known = [side[other] for side, other in ((left.links, b), (right.links, a)) if other in side]
    if not known:
        known = [left.client, right.client]
    return max(link.round_trip_s for link in known), max(1 / link.bytes_per_s for link in known)


def leg_s(left: Candidate | None, right: Candidate | None, prefilled: int, wanted: Request) -> float:
    """A leg's share: its latency for each new token and once for the prompt, and the bytes of all of them."""
    round_trip_s, byte_s = leg(left, right)
    new = wanted.new_tokens
    return new * (round_trip_s / 2 + wanted.token_bytes * byte_s) + (
        round_trip_s / 2 + prefilled * wanted.token_bytes * byte_s
    )


def enter_s(left: Candidate | None, right: Candidate, wanted: Request) -> float:
    loss = wanted.new_tokens * wanted.token_s * right.hazard_per_s * wanted.recovery_s
    return leg_s(left, right, wanted.prompt_tokens, wanted) + wanted.new_tokens * right.queue_s + loss


def block_s(one: Candidate, wanted: Request) -> float:
    work = wanted.new_tokens * one.decode_s + wanted.prompt_tokens * one.prefill_s
    return work + wanted.seconds_per_price * wanted.price_of(one, 1)


def leave_s(last: Candidate, wanted: Request) -> float:
    return leg_s(last, wanted.after, 1 if wanted.after is None else wanted.prompt_tokens, wanted)


def serving(swarm: list[Candidate], block: int) -> list[Candidate]:
    return [one for one in swarm if one.peer.start <= block < one.peer.stop]


def every_path(swarm: list[Candidate], num_blocks: int, wanted: Request) -> Iterator[tuple[float, float]]:
    """Seconds and price of each way to give every block to a peer that serves it."""
    stop = num_blocks if wanted.stop is None else wanted.stop

    def onwards(block: int, last: Candidate | None, seconds: float, price: float) -> Iterator[tuple[float, float]]:
        if block == stop:
            yield seconds + leave_s(last, wanted), price
            return
        for one in serving(swarm, block):
            stays = block > wanted.start and one is last
            more = block_s(one, wanted) + (0 if stays else enter_s(last, one, wanted))
            yield from onwards(block + 1, one, seconds + more, price + wanted.price_of(one, 1))

    return onwards(wanted.start, wanted.before, 0.0, 0.0)


def plain_programme(swarm: list[Candidate], num_blocks: int, wanted: Request) -> float:
    """The least cost by a dynamic programme over (block, peer) without any bounds."""
    cost: list[tuple[float, Candidate | None]] = [(0.0, None)]
    for block in range(num_blocks):
        cost = [
            (
                block_s(one, wanted)
                + min(before + (0 if last is one else enter_s(last, one, wanted)) for before, last in cost),
                one,
            )
            for one in serving(swarm, block)
        ]
    return min(seconds + leave_s(last, wanted) for seconds, last in cost)


def check(chain: Chain, swarm: list[Candidate], num_blocks: int, wanted: Request) -> None:
    """The chain covers what was asked for, from peers that serve it, at the cost that it names."""
    stop = num_blocks if wanted.stop is None else wanted.stop
    edges = [wanted.start, *(hop.stop for hop in chain.hops)]
    assert [hop.start for hop in chain.hops] == edges[:-1]
    assert edges[-1] == stop
    assert all(hop.peer.start <= hop.start < hop.stop <= hop.peer.stop for hop in chain.hops)
    assert all(left.peer is not right.peer for left, right in itertools.pairwise(chain.hops))
    assert chain == cost_chain(chain.hops, {one.peer.peer_id: one for one in swarm}, wanted)


@pytest.mark.parametrize("seed", range(10))
def test_the_search_finds_the_best_of_all_chains_within_the_price(seed):
    rng = random.Random(seed)
    found = limited = 0
    for _ in range(100):
        swarm, num_blocks, wanted = random_swarm(rng)
        paths = list(every_path(swarm, num_blocks, wanted))
        if not paths:
            with pytest.raises(NoRoute, match="no peer serves"):
                best_chain(swarm, num_blocks, wanted)
            continue
        network = Network(swarm, num_blocks)
        chain = best_chain(network, num_blocks, wanted)
        check(chain, swarm, num_blocks, wanted)
        assert chain.seconds == pytest.approx(min(seconds for seconds, _ in paths), rel=1e-9)
        found += 1
        prices = sorted({price for _, price in paths if price < chain.price})
        for limit in rng.sample(prices, min(3, len(prices))):
            capped = replace(wanted, max_price=limit)
            chain = best_chain(network, num_blocks, capped)
            check(chain, swarm, num_blocks, capped)
            assert chain.price <= limit * (1 + 1e-6)
            assert chain.seconds == pytest.approx(min(cost for cost, price in paths if price <= limit * (1 + 1e-9)))
            limited += 1
    assert found > 40
    assert limited > 25


def test_in_a_larger_swarm_no_prune_loses_the_optimum():
    rng = random.Random(0)
    names = [str(index) for index in range(60)]
    for _ in range(20):
        swarm = [random_candidate(rng, name, 12, rng.sample(names, 6)) for name in names]
        swarm.append(candidate("everything", 0, 12, decode_s=0.02))  # so that there is a chain
        wanted = request(seconds_per_price=rng.choice([0, 1e-3]))
        assert best_chain(swarm, 12, wanted).seconds == pytest.approx(plain_programme(swarm, 12, wanted))


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


def test_missing_blocks_are_named_with_the_command_that_serves_them():
    with pytest.raises(NoRoute, match=r"blocks 4:6 .*--blocks 4:6"):
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
    chain = best_chain(swarm, 12, request(prompt_tokens=10, new_tokens=100, batch=True, **dear))
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
