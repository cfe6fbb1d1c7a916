"""Routing: what a search takes, and what requests take under this library's routing and under two others.

    python benchmarks/routing.py [--quick]

Needs no model and no server. First the search: a picture of the swarm is made once for all requests (build), then
searched for the best chain, for the best two, and for the best whose price is half way between the cheapest chain's and
the best one's. Then simulated swarms (simulate): the same peers, requests and deaths for each policy. The
policies are this library's, a chain with the fewest hops, and Petals' cost function. The
default, 1,000 peers and 10,000 requests in each scenario, takes minutes for each policy:
--jobs runs several simulations at once.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import argparse
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from matplotlib.figure import Figure

from harness.report import Report, make_parser, print_table
from harness.simulate.clients import Knowledge
from harness.simulate.peers import Place
from harness.simulate.policies import Balanced, fewest, petals
from harness.simulate.scenarios import SCENARIOS, Scenario
from harness.simulate.world import Simulation
from swarm.route.route import Candidate, Request
from swarm.route.search.chains import best_chain, best_chains
from swarm.route.search.network import Network
from swarm.wire.formats.quotes import Price

POLICIES = {"this library": Balanced(), "fewest hops": fewest, "as Petals": petals}
REQUEST = Request(prompt_tokens=200, new_tokens=200, token_bytes=16384)


def milliseconds(action: Callable[[], object]) -> tuple[float, object]:
    """Of this process: on a shared machine, a wall clock measures the others."""
    started = time.process_time()
    result = action()
    return (time.process_time() - started) * 1000, result


def candidates(peers: int, blocks: int, seed: int) -> list[Candidate]:
    """Peers of six regions with unequal speeds, lines, queues and prices, as a client sees them."""
    scenario = Scenario(
        "search",
        peers,
        0,
        num_blocks=blocks,
        widths=(5, min(40, blocks)),
        speeds=0.6,
        regions=6,
        region_size=0.03,
        bytes_per_s=(3e6, 1e9),
        seed=seed,
    )
    world, rng, swarm = scenario.world(), random.Random(seed), []
    for number in range(peers):
        swarm.append(world.newcomer(swarm, number, rng))
    knowledge = Knowledge([Place(0.5, 0.5, 125e6)], blocks, 0.1, rng)
    return [
        replace(
            knowledge.candidate(0, peer, 0.0),
            queue_s=rng.expovariate(100),
            price=Price(rng.randint(25, 100), rng.randint(500, 2000)),
        )
        for peer in swarm
    ]


def search_times(peers: int, blocks: int, repeats: int) -> dict[str, object]:
    times: dict[str, list[float]] = {"build ms": [], "best ms": [], "best two ms": [], "max price ms": []}
    for seed in range(repeats):
        swarm = candidates(peers, blocks, seed)
        spent, network = milliseconds(lambda swarm=swarm: Network(swarm, blocks))
        times["build ms"].append(spent)
        spent, best = milliseconds(lambda network=network: best_chain(network, blocks, REQUEST))
        times["best ms"].append(spent)
        times["best two ms"].append(milliseconds(lambda network=network: best_chains(network, blocks, REQUEST))[0])
        cheap = best_chain(network, blocks, replace(REQUEST, seconds_per_price=1e3))
        capped = replace(REQUEST, max_price=(best.price + cheap.price) // 2)
        spent, _ = milliseconds(lambda network=network, capped=capped: best_chain(network, blocks, capped))
        times["max price ms"].append(spent)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {"peers": peers, "blocks": blocks, **medians, "most, best ms": max(times["best ms"])}


def compare(scenario: Scenario, policy: str) -> dict[str, object]:
    started = time.process_time()
    sessions = Simulation(scenario.world(), POLICIES[policy]).run()
    done = [session for session in sessions if not session.failed]
    token_s = [session.token_s for session in done]
    return {
        "scenario": scenario.name,
        "policy": policy,
        "token ms": statistics.mean(token_s) * 1000,
        "p95 ms": statistics.quantiles(token_s, n=20)[-1] * 1000,
        "request s": statistics.mean(session.total_s for session in done),
        "hops": statistics.mean(len(session.parts) for session in done),
        "completed": len(done),
        "failed": len(sessions) - len(done),
        "peers lost": sum(session.losses for session in sessions),
        "cpu s": time.process_time() - started,
    }


def comparison(args: argparse.Namespace) -> list[dict[str, object]]:
    scenarios = [replace(scenario, peers=args.swarm_size, requests=args.requests) for scenario in SCENARIOS]
    with ProcessPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(compare, scenario, policy) for scenario in scenarios for policy in POLICIES]
        return [run.result() for run in runs]


def plot(rows: list[dict[str, object]], title: str) -> Figure:
    """Mean time per token: a group of bars for each scenario; a line up to the 95th percentile."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    for place, (policy, colour) in enumerate(zip(POLICIES, ("C0", "0.55", "0.75"), strict=True)):
        mine = [row for row in rows if row["policy"] == policy]
        x = [names.index(row["scenario"]) + 0.27 * (place - 1) for row in mine]
        means = [row["token ms"] for row in mine]
        above = [max(row["p95 ms"] - row["token ms"], 0) for row in mine]
        axes.bar(x, means, 0.25, yerr=[[0] * len(x), above], color=colour, label=policy, ecolor="0.3", capsize=2)
        for at, mean in zip(x, means, strict=True):
            axes.text(at, mean / 2, f"{mean:.0f}", ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names], fontsize=8)
    axes.set_ylabel("ms per token: mean, and up to the 95th percentile")
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--swarm-size", type=int, default=1000, help="peers of each simulated swarm")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=9, help="swarms that are searched, of each size")
    parser.add_argument("--jobs", type=int, default=1, help="simulations at once")
    parser.add_argument("--quick", action="store_true", help="100 peers, 1,000 requests, 3 swarms to search")
    args = parser.parse_args()
    report = Report(args)
    if args.quick:
        args.swarm_size, args.requests, args.repeats = 100, 1000, 3
    sizes = [(100, 32), (100, 80), (1000, 32), (1000, 80)]
    searches = [search_times(peers, blocks, args.repeats) for peers, blocks in sizes]
    print_table(searches)
    rows = comparison(args)
    print_table(rows)
    report.save(
        "routing",
        {"peers": args.swarm_size, "requests": args.requests, "search": searches, "simulation": rows},
    )
    report.draw(plot(rows, f"{args.requests} requests on simulated swarms of {args.swarm_size} peers"), "routing")


if __name__ == "__main__":
    main()
