"""Where a swarm's peers end up: throughput, moves until they rest, time to compute one. Nothing is served.

    python benchmarks/placement.py [--quick]

Large swarms of unequal peers, from random and from bad placements, after losing peers, and after their speeds were
measured anew with 5 % of noise; against `throughput_bound`, which no placement exceeds and most swarms cannot reach.
Small swarms from many placements, and joining one by one; against the best of all placements, by integer programming.
Times are of this process's processor time.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from harness.report import Report, make_parser, print_table
from swarm.route.placement.placed import Placed, block_rates, place, throughput, throughput_bound
from swarm.route.placement.rebalance import next_move

Swarm = list[Placed]


def peers(draw: random.Random, count: int, most: int) -> Swarm:
    """Memory for 1 to `most` blocks, speeds that differ twentyfold."""
    speeds = [round(10 ** draw.uniform(1, 2.3)) for _ in range(count)]
    return [Placed(f"p{i:03d}", 0, 1, draw.randint(1, most), float(speed)) for i, speed in enumerate(speeds)]


def just_enough(draw: random.Random, num_blocks: int, most: int) -> Swarm:
    """Peers with memory for `num_blocks` in total."""
    sizes: list[int] = []
    while sum(sizes) < num_blocks:
        sizes.append(min(draw.randint(1, most), num_blocks - sum(sizes)))
    return [Placed(f"p{i:03d}", 0, 1, size, float(draw.randint(10, 200))) for i, size in enumerate(sizes)]


def anywhere(swarm: Swarm, num_blocks: int, draw: random.Random) -> Swarm:
    widths = [draw.randint(1, min(peer.max_blocks, num_blocks)) for peer in swarm]
    starts = [draw.randint(0, num_blocks - width) for width in widths]
    return [peer.at(start, start + width) for peer, start, width in zip(swarm, starts, widths, strict=True)]


def on_block_0(swarm: Swarm, num_blocks: int, draw: random.Random) -> Swarm:
    return [peer.at(0, peer.max_blocks) for peer in swarm]


def identical(swarm: Swarm, num_blocks: int, draw: random.Random) -> Swarm:
    return [dataclasses.replace(peer, start=0, stop=8, max_blocks=8, blocks_per_s=50.0) for peer in swarm]


def second_half_empty(swarm: Swarm, num_blocks: int, draw: random.Random) -> Swarm:
    return anywhere(swarm, num_blocks // 2, draw)


def settle(swarm: Swarm, num_blocks: int) -> tuple[Swarm, list[float]]:
    """(the swarm when no move is left, seconds that each move took to compute)."""
    times = []
    while True:
        started = time.process_time()
        move = next_move(swarm, num_blocks)
        times.append(time.process_time() - started)
        if move is None:
            return swarm, times
        swarm = [peer.at(move.start, move.stop) if peer.peer_id == move.peer_id else peer for peer in swarm]


def row(name: str, swarm: Swarm, num_blocks: int) -> tuple[Swarm, dict[str, object]]:
    settled, times = settle(swarm, num_blocks)
    return settled, {
        "case": name,
        "peers": len(swarm),
        "blocks": num_blocks,
        "covered": throughput(settled, num_blocks) > 0,
        "moves": len(times) - 1,
        "% of bound before": 100 * throughput(swarm, num_blocks) / throughput_bound(swarm, num_blocks),
        "% of bound": 100 * throughput(settled, num_blocks) / throughput_bound(settled, num_blocks),
        "median ms": 1000 * statistics.median(times),
        "slowest ms": 1000 * max(times),
    }


def large(count: int, num_blocks: int, draw: random.Random) -> list[dict[str, object]]:
    """One row for each bad start, and for what may happen to a swarm that has settled."""
    swarm, rows = peers(draw, count, num_blocks // 4), []
    starts: Sequence[Callable[[Swarm, int, random.Random], Swarm]]
    starts = (on_block_0, identical, second_half_empty, anywhere)
    for start in starts:
        settled, result = row(start.__name__.replace("_", " "), start(swarm, num_blocks, draw), num_blocks)
        rows.append(result)
        print(result, flush=True)
    noisy = [dataclasses.replace(p, blocks_per_s=p.blocks_per_s * draw.uniform(0.95, 1.05)) for p in settled]
    rows.append(row("speeds measured anew", noisy, num_blocks)[1])
    rows.append(row("15 % of peers lost", draw.sample(settled, round(0.85 * count)), num_blocks)[1])
    lost = [peer for peer in settled if not peer.start <= num_blocks // 2 < peer.stop]
    rows.append(row("all peers of a block lost", lost, num_blocks)[1])
    tight = anywhere(just_enough(draw, num_blocks, 8), num_blocks, draw)
    rows.append(row("just enough memory", tight, num_blocks)[1])
    return rows


def optimum(swarm: Swarm, num_blocks: int) -> float:
    """The most tokens/s over all placements. Variables: which range each peer takes, and the throughput."""
    options = [
        (index, peer.at(start, start + width))
        for index, peer in enumerate(swarm)
        for width in range(1, peer.max_blocks + 1)
        for start in range(num_blocks - width + 1)
    ]
    rates = np.array([block_rates([option], num_blocks) for _, option in options]).T
    chosen = np.arange(len(swarm))[:, None] == [index for index, _ in options]
    one = np.ones((num_blocks, 1))
    constraints = [
        LinearConstraint(np.hstack([rates, -one]), 0, np.inf),
        LinearConstraint(np.hstack([chosen, 0 * one[: len(swarm)]]), 1, 1),
    ]
    integral = np.append(np.ones(len(options)), 0)
    bounds = Bounds(0, np.append(np.ones(len(options)), np.inf))
    return -milp(integral - 1, constraints=constraints, integrality=integral, bounds=bounds).fun


def joining(swarm: Swarm, num_blocks: int) -> tuple[Swarm, int]:
    """(the swarm after all of `swarm` joined one by one, each followed by moves until they rest; all these moves)."""
    joined, moves = [], 0
    for peer in swarm:
        start, stop = place(peer.max_blocks, peer.blocks_per_s, joined, num_blocks)
        joined, times = settle([*joined, peer.at(start, stop)], num_blocks)
        moves += len(times) - 1
    return joined, moves


def small(instances: int, starts: int, draw: random.Random) -> list[dict[str, object]]:
    """From `starts` placements of each of `instances` swarms of 3 to 5 peers and 5 to 8 blocks."""
    found: dict[str, list[tuple[float, int]]] = {"from anywhere": [], "joined one by one": []}
    while len(found["joined one by one"]) < instances:
        num_blocks = draw.randint(5, 8)
        swarm = peers(draw, draw.randint(3, 5), num_blocks)
        if sum(peer.max_blocks for peer in swarm) < num_blocks:
            continue
        best = optimum(swarm, num_blocks)
        for _ in range(starts):
            settled, times = settle(anywhere(swarm, num_blocks, draw), num_blocks)
            found["from anywhere"].append((throughput(settled, num_blocks) / best, len(times) - 1))
        settled, moves = joining(swarm, num_blocks)
        found["joined one by one"].append((throughput(settled, num_blocks) / best, moves))
    return [
        {
            "small swarms": name,
            "starts": len(results),
            "worst % of optimum": 100 * min(share for share, _ in results),
            "mean % of optimum": 100 * statistics.mean(share for share, _ in results),
            "% of starts below 90 %": 100 * statistics.mean(share < 0.9 for share, _ in results),
            "mean moves": statistics.mean(moves for _, moves in results),
            "most moves": max(moves for _, moves in results),
        }
        for name, results in found.items()
    ]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="one size of large swarm, few small ones")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = Report(args)
    draw = random.Random(args.seed)
    exact = small(*((20, 5) if args.quick else (300, 10)), draw)
    print_table(exact)
    sizes = ((50, 30),) if args.quick else ((12, 30), (24, 30), (50, 30), (200, 80))
    spread = [result for count, num_blocks in sizes for result in large(count, num_blocks, draw)]
    print_table(spread)
    report.save("placement", {"seed": args.seed, "small": exact, "large": spread})


if __name__ == "__main__":
    main()
