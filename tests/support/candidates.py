"""Candidates and requests of a search for a chain."""

import random
from collections.abc import Sequence
from dataclasses import replace

from swarm.route.costs import Link
from swarm.route.peer import PeerInfo
from swarm.route.route import Candidate, Request
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price

FAST = Link(0.002, 1e9)


def candidate(name: str, start: int, stop: int, **figures: object) -> Candidate:
    info = PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())
    figures = {"decode_s": 0.01, "prefill_s": 0.001, "queue_s": 0.0, "client": FAST, **figures}
    return Candidate(info, **figures)


def request(**changes: object) -> Request:
    return replace(Request(prompt_tokens=10, new_tokens=100, token_bytes=1000), **changes)


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
