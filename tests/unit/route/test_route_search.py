"""The search for the best chain, against brute force."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from candidates import candidate, random_candidate, request
from swarm.errors import NoRoute
from swarm.route.route import Candidate, Chain, Request, cost_chain
from swarm.route.search.chains import best_chain
from swarm.route.search.network import Network


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
