"""The client of a two-hop chain, whose calls and whose servers' are counted: prints those of its steady tokens."""

import json
import os
import sys
from pathlib import Path

from counting import Calls, ask, imported

CALLS = Calls(Path(os.environ["HOUSE_ROOT"]), "swarm")
CALLS.install()

import swarm  # noqa: E402  # its import is counted too

PROMPT = list(range(1000, 1032))


def look(sockets: list[str]) -> list[dict]:
    """Of the client, then of each server, until now."""
    packages = tuple(os.environ["HOUSE_OPTIONAL"].split())
    return [{"counts": CALLS.snapshot(), "imported": imported(packages)}, *(ask(Path(one)) for one in sockets)]


def generate(peers: list[str], sockets: list[str], options: dict, lengths: list[int], repeats: int) -> dict:
    """Counts before and after generations of each of `lengths`, `repeats` times over."""
    with swarm.Client("demo", peers, audit="off", **options) as client:
        for length in lengths:  # connections, channels and estimates are made
            client.generate(PROMPT, max_new_tokens=length, ignore_eos=True)
        looks = [look(sockets)]
        for _ in range(repeats):
            for length in lengths:
                out = client.generate(PROMPT, max_new_tokens=length, ignore_eos=True)
                assert len(out.token_ids) == length and len(out.route) == len(sockets), out.route
                looks.append(look(sockets))
    return {"looks": looks, "cost": out.cost}


if __name__ == "__main__":
    print(json.dumps(generate(**json.loads(sys.argv[1]))))
