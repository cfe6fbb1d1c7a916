"""Random operations on every kind of ledger, legal and not, compared with a model after each; and on the embedded one,
its process dies at every write of some of them.

    python benchmarks/ledger.py [--operations 100000] [--backend sqlite|evm] [--json]
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support" / "ledger"))  # the tests' ledgers and operations
from harness.report import Report, make_parser, print_table
from ledger_crashes import FragileWorld
from ledger_trials import KINDS, Pair, Trial
from ledgers import BACKENDS, RULES, World
from swarm.market.ledger.audit import audit

LIFE = 200  # operations on one ledger, so that looking through all of it stays cheap
MORTAL = 0.1  # share of the embedded ledger's operations before which the process dies at every write


@dataclass
class Outcome:
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def row(self, backend: str) -> dict[str, object]:
        operations = self.counts["operations"]
        return {
            "backend": backend, "operations": operations, "refused": self.counts["refused"],
            "crashes": self.counts["crashes"], "violations": len(self.violations),
            "operations/s": operations / self.seconds, "seconds an operation": self.seconds / operations,
        }  # fmt: skip


@contextmanager
def fragile(folder: Path) -> Iterator[World]:
    """The embedded ledger, which is audited at the end of its life."""
    world = FragileWorld(folder / "ledger.db", RULES)
    yield world
    world.shut()


def run(backend: str, operations: int, seed: int) -> Outcome:
    outcome, random = Outcome(), Random(seed)
    begun_s = time.perf_counter()
    while outcome.counts["operations"] < operations:
        with TemporaryDirectory() as folder:
            life(backend, Path(folder), random, min(LIFE, operations - outcome.counts["operations"]), outcome)
        outcome.seconds = time.perf_counter() - begun_s
        print(f"\r{backend}: {outcome.counts['operations']} operations", end="", file=sys.stderr)
    print(file=sys.stderr)
    return outcome


def life(backend: str, folder: Path, random: Random, operations: int, outcome: Outcome) -> None:
    """Of one ledger."""
    can_die = backend == "sqlite"
    with fragile(folder) if can_die else BACKENDS[backend](folder, RULES) as world:
        pair = Pair(world)
        pair.endow()
        trial = Trial(pair, random)
        while trial.counts["operations"] < operations:
            trial.step(random.choice(KINDS), crashes=can_die and random.random() < MORTAL)
    outcome.counts += trial.counts
    outcome.violations += trial.violations
    if can_die:
        outcome.violations += audit(folder / "ledger.db").problems


def main() -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--operations", type=int, default=100_000, metavar="N", help="over all backends (default: 100000)")
    add("--backend", choices=BACKENDS, help="only this one (default: all that are installed)")
    add("--seed", type=int, default=0)
    add("--json", action="store_true", help="print one JSON object, and save nothing")
    args = parser.parse_args()
    report = Report(args)
    backends = [args.backend] if args.backend else list(BACKENDS)
    outcomes = {name: run(name, args.operations // len(backends), args.seed) for name in backends}
    violations = [violation for outcome in outcomes.values() for violation in outcome.violations]
    result = {
        "seed": args.seed, "backends": [one.row(name) for name, one in outcomes.items()],
        "violations": violations[:100],
    }  # fmt: skip
    if args.json:
        print(json.dumps(result))
    else:
        print_table(result["backends"])
        report.save("ledger", result)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
