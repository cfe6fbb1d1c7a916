"""The token's path, counted: which functions of `swarm` run for one decoded token, in the client and in two servers.

Two generations from one prompt, of 34 and of 62 tokens, differ by 28 steady tokens and by nothing else that depends on
tokens: no chunk of 32 positions that is signed for ends between them. How often a function started in the longer one,
less how often in the shorter one, by the median over some repeats, divided by 28, is how often it is called for a
token. What runs for fewer than three of four tokens is not on the path: vouchers, and what goes by the clock
(announcing, pings). What all of that amounts to is told by a third generation that has two such chunks more: the mean
over 64 tokens.

A coroutine that goes on after a wait is no call; how often that happens is told beside it. Properties, lambdas and
comprehensions are calls, as Python makes them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

PROBE = Path(__file__).parent / "probe"
OPTIONAL = ("swarm.verify", "swarm.market", "swarm.trust", "swarm.economy")  # the last two: as they were once called
LENGTHS = (34, 62, 126)  # new tokens, after a prompt of 32
REPEATS = 7
ON_THE_PATH = 0.75  # calls for a token, at least, of a function on its path


@dataclass(frozen=True)
class TokenPath:
    """Of one token, in all three processes together."""

    client: int  # calls
    servers: int  # of both
    resumed: int  # coroutines that go on after a wait
    mean: float  # calls for a token, on average, with all that does not run for every token
    files: list[str]  # that are entered, in any process
    optional: list[str]  # calls of `OPTIONAL` in the whole life of any process, until the last token
    imported: list[str]  # modules of `OPTIONAL`, in any process
    functions: dict[str, int]  # calls for a token of each, in all processes

    @property
    def calls(self) -> int:
        return self.client + self.servers

    def as_json(self) -> dict[str, object]:
        return {"calls": self.calls, **asdict(self)}


def measure(tree: Path, kind: str) -> TokenPath:
    """kind: "unsigned" (no receipts), "free", or "paid". tree: a checkout."""
    with ledger(tree, kind) as options:
        servers, client = options
        flags = ["--no-receipts"] if kind == "unsigned" else []
        client |= {"receipts": False} if kind == "unsigned" else {}
        task = {"flags": flags, "servers": servers, "client": client, "lengths": LENGTHS, "repeats": REPEATS}
        found = json.loads(run(tree, str(PROBE / "chain.py"), json.dumps(task)))
    assert (found["cost"] > 0) == (kind == "paid"), found["cost"]
    return summarise(found["looks"])


def summarise(looks: list[list[dict]]) -> TokenPath:
    """looks: at all processes, before the first generation and after each; LENGTHS, over and over."""
    counts = [[look[process]["counts"] for look in looks] for process in range(len(looks[0]))]
    plain, longer = ([per_token(one, step) for one in counts] for step in (0, 1))
    on_path = [{name: pair for name, pair in one.items() if max(pair) >= ON_THE_PATH} for one in plain]
    sums = [sum(round(started) for started, _ in one.values()) for one in on_path]
    functions: Counter[str] = Counter()
    for one in on_path:
        functions.update({name: round(started) for name, (started, _) in one.items()})
    ever = {name for one in looks[-1] for name in one["counts"]}
    folders = tuple(name.replace(".", "/") + "/" for name in OPTIONAL)
    return TokenPath(
        client=sums[0],
        servers=sum(sums[1:]),
        resumed=sum(round(resumed) for one in on_path for _, resumed in one.values()),
        mean=round(sum(started for one in longer for started, _ in one.values())),
        files=sorted({name.split(":")[0] for name in functions}),
        optional=sorted(name for name in ever if name.startswith(folders)),
        imported=sorted({name for one in looks[-1] for name in one["imported"]}),
        functions=dict(sorted(functions.items())),
    )


def per_token(counts: list[dict[str, list[int]]], step: int) -> dict[str, tuple[float, float]]:
    """(starts, resumptions) for a token of each function of one process, between the lengths number `step` and the
    next. counts: of each look."""
    tokens = LENGTHS[step + 1] - LENGTHS[step]
    found = {}
    for name in counts[-1]:
        seen = [one.get(name, (0, 0)) for one in counts]
        during = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(seen)]
        shorter, longer = during[step :: len(LENGTHS)], during[step + 1 :: len(LENGTHS)]
        started, resumed = (
            statistics.median(more[part] - less[part] for less, more in zip(shorter, longer, strict=True))
            for part in (0, 1)
        )
        found[name] = max(started, 0) / tokens, max(resumed, 0) / tokens
    return found


@contextmanager
def ledger(tree: Path, kind: str) -> Iterator[tuple[dict, dict]]:
    """Options of servers and of a client; if it pays, of a ledger on which it has something."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["SWARM_HOME"] = home
        if kind != "paid":
            yield {}, {}
            return
        where = str(Path(home) / "ledger")
        run(tree, "-m", "swarm", "ledger", "mint", "me", "100", "--ledger", where)
        in_nano = "1000n" if (tree / "swarm" / "market").exists() else "1000"
        yield {"ledger": where, "price": in_nano}, {"ledger": where, "allow_unstaked": True}


def run(tree: Path, *command: str) -> str:
    """Python's standard output, with `tree`'s packages."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "kernels"))),
        "HOUSE_ROOT": str(tree),
        "HOUSE_OPTIONAL": " ".join(OPTIONAL),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:2])} of {tree} failed with exit status {done.returncode}")
    return done.stdout.splitlines()[-1] if done.stdout else ""
