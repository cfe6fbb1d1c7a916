"""The cheapest chain of peers for a request, and good alternatives to it: pure, no I/O.

Cheapest by route.cost_chain: compute, queues, links there and back, prefill, expected loss of peers and price, in
seconds. How it is found is in the module shortest and, under a limit on the price, in the module budget.
"""

import math
from collections.abc import Sequence

import numpy as np

from swarm.errors import NoRoute
from swarm.route.route import Candidate, Chain, Request, uncovered
from swarm.route.search.budget import ROUNDING, least_prices, shortest_within
from swarm.route.search.network import Network, Problem
from swarm.route.search.shortest import shortest
from swarm.wire.formats.amounts import format_credits

SLACK = 1.25  # an alternative costs at most so many times what the best chain does


def best_chain(candidates: Sequence[Candidate] | Network, num_blocks: int, request: Request) -> Chain:
    """The cheapest chain for `request`. A caller that searches one picture of the swarm often makes a Network of its
    candidates once and passes that.

    Raises NoRoute naming the blocks that no candidate serves, or the price that the cheapest chain would have.
    """
    return best_chains(candidates, num_blocks, request, count=1)[0]


def best_chains(
    candidates: Sequence[Candidate] | Network,
    num_blocks: int,
    request: Request,
    count: int = 2,
    slack: float = SLACK,
) -> list[Chain]:
    """The cheapest chain, then up to `count` - 1 others that cost at most `slack` times as much, cheapest first.

    Each alternative is the best chain there is when all peers of the ones before it, and the legs at them, cost `slack`
    times what they do: it leaves out as many of those peers as the slack pays for. Raises as best_chain.
    """
    network = candidates if isinstance(candidates, Network) else Network(candidates, num_blocks)
    problem = Problem.of(network, request)
    _check(problem, request)
    best = tuple(_solve(problem, request))
    found, factors = {best: network.chain(best, request)}, np.ones(len(network.candidates))
    for _ in range(count - 1):
        factors[list({owner for owners in found for owner in owners})] = slack
        owners = tuple(_solve(problem.weighted(factors), request))
        if owners in found:  # and would be again
            break
        found[owners] = network.chain(owners, request)
    first, *others = found.values()
    return [first, *sorted(others, key=lambda chain: chain.seconds)]


def _solve(problem: Problem, request: Request) -> list[int]:
    if request.max_price is None:
        return list(map(int, shortest(problem)[0]))
    return list(map(int, shortest_within(problem, request.max_price)))


def _check(problem: Problem, request: Request) -> None:
    if not problem.network.serves[problem.start : problem.stop].any(1).all():
        peers = [candidate.peer for candidate in problem.network.candidates]
        raise uncovered(peers, problem.network.num_blocks, problem.start, problem.stop)
    cheapest = least_prices(problem)[0]
    if request.max_price is not None and cheapest > request.max_price * (1 + ROUNDING):
        limit, least = format_credits(int(request.max_price)), format_credits(math.ceil(cheapest))
        raise NoRoute(
            f"no chain costs at most {limit}, the limit for this request of {request.tokens} tokens; the "
            f"cheapest one costs {least}: allow that much, or ask for fewer tokens"
        )
