"""Figures of a run, and whether they can be trusted. Pure.

Throughputs are tokens over wall time: what stalls is in them.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from swarm import shown

FEWEST = 3  # runs, from which a spread can be told
WIDEST = 0.25  # quartiles that are further apart than this part of the median say little
FULL = 0.9  # part of the cores in use at which nobody has as much of them as it wants
NOTICED = 0.1  # part of the cores that others may take in any case
STEADY_TOKENS = 4  # of each session, while all generate: with fewer, their speed cannot be told


@dataclass(frozen=True)
class Load:
    """Of the cores that this process may use, on average over a run."""

    cores: int
    own: float  # cores that were busy with what is measured
    others: float  # with anything else

    @property
    def crowded(self) -> bool:
        """Whether others took what was wanted here."""
        return self.others > NOTICED * self.cores and self.own + self.others > FULL * self.cores


@dataclass(frozen=True)
class Run:
    """Sessions that began at once, each with a prompt of its own."""

    prompt_tokens: int  # of each session
    tokens_s: Sequence[Sequence[float]]  # of each session: when each new token came, in seconds after the request
    load: Load | None = None  # None: not known
    repairs: int = 0  # how often hops were replaced
    formats: frozenset[str] = frozenset()  # of the peers that computed it, as "int8/bfloat16"

    @property
    def decode_per_s(self) -> float | None:
        """Tokens of all sessions over the time in which all of them generate: from the moment when the last one has its
        first token until the first one ends. None if that is too short, as where one ends before another begins."""
        start, stop = max(times[0] for times in self.tokens_s), min(times[-1] for times in self.tokens_s)
        tokens = sum(start < at <= stop for times in self.tokens_s for at in times)
        enough = min(STEADY_TOKENS, min(len(times) for times in self.tokens_s) - 1) * len(self.tokens_s)
        return tokens / (stop - start) if stop > start and tokens >= enough else None

    @property
    def at_once(self) -> int:
        """How many sessions were between their first token and their last at the same time, at most."""
        starts = [times[0] for times in self.tokens_s]
        return max(sum(times[0] <= at <= times[-1] for times in self.tokens_s) for at in starts)

    @property
    def total_per_s(self) -> float:
        """New tokens over the time from the request to the last of them, prompts included."""
        return sum(len(times) for times in self.tokens_s) / max(times[-1] for times in self.tokens_s)

    @property
    def prompt_per_s(self) -> float:
        """Tokens of all prompts over the time until every session has its first token."""
        return self.prompt_tokens * len(self.tokens_s) / max(times[0] for times in self.tokens_s)

    @property
    def first_token_s(self) -> float:
        """Of the session that was first."""
        return min(times[0] for times in self.tokens_s)

    @property
    def step_ms(self) -> float:
        """Between two tokens of a session, the median: a stall does not show in it."""
        steps = [b - a for times in self.tokens_s for a, b in pairwise(times)]
        return 1000 * statistics.median(steps)


@dataclass(frozen=True)
class Spread:
    """Of the same figure, measured several times."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return lower, upper

    @property
    def width(self) -> float:
        """Between the quartiles, in parts of the median."""
        lower, upper = self.quartiles
        return (upper - lower) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Case:
    """What was measured of one engine with so many sessions of so long prompts."""

    engine: str
    sessions: int
    context: int  # tokens of each prompt
    runs: Sequence[Run] = field(repr=False)

    @property
    def decode(self) -> Spread | None:
        """None if it cannot be told in every run."""
        rates = [run.decode_per_s for run in self.runs]
        known = [rate for rate in rates if rate is not None]
        return Spread(known) if len(known) == len(rates) else None

    @property
    def total(self) -> Spread:
        return Spread([run.total_per_s for run in self.runs])

    def median(self, figure: str) -> float:
        """figure: a property of a Run that is always there."""
        return Spread([getattr(run, figure) for run in self.runs]).median

    @property
    def load(self) -> Load | None:
        """The median over the runs; None if it is not known."""
        loads = [run.load for run in self.runs if run.load]
        if not loads:
            return None
        own, others = (statistics.median(getattr(load, name) for load in loads) for name in ("own", "others"))
        return Load(loads[0].cores, own, others)

    @property
    def formats(self) -> list[str]:
        """Of the peers that computed it."""
        return sorted(frozenset().union(*(run.formats for run in self.runs)))

    @property
    def doubts(self) -> list[str]:
        """Why the figures should not be believed, nor compared; nothing if they may be."""
        found, load, spread = [], self.load, self.decode or self.total
        if any(run.load is None for run in self.runs):
            found.append("who else kept this machine busy is not known")
        if load and load.crowded:
            found.append(f"others took {load.others:.1f} of {load.cores} cores")
        if len(self.formats) > 1:
            found.append(f"computed in {' and in '.join(self.formats)}, and not in one format")
        if self.decode is None:
            found.append(self._apart())
        if len(self.runs) < FEWEST:
            found.append(f"measured {shown.count(len(self.runs), 'time')}, so the spread is not known")
        elif spread.width > WIDEST:
            found.append(f"quartiles are {100 * spread.width:.0f} % apart")
        if repairs := sum(run.repairs for run in self.runs):
            found.append(f"hops were replaced {shown.count(repairs, 'time')}")
        return found

    def _apart(self) -> str:
        """Why there was no time in which all sessions generated."""
        at_once = min(run.at_once for run in self.runs)
        if at_once < self.sessions:
            why = "peers have no room for more, or one ended before another began"
            return f"only {at_once} of {self.sessions} sessions were at work at once: {why}"
        return "all sessions were at work at once for too few tokens"


def ratio(case: Case, base: Case) -> Spread | None:
    """How many times as fast as `base`, of decoding, run by run: the n-th of both were neighbours in time. None if
    either is in doubt."""
    found = None if case.doubts or base.doubts else beside(case, base)
    return found if found and found.width <= WIDEST else None


def beside(case: Case, base: Case) -> Spread | None:
    """The same, whatever is in doubt. None where either has no figure in some run."""
    mine, theirs = case.decode, base.decode
    if mine is None or theirs is None or len(mine.values) != len(theirs.values):
        return None
    return Spread([a / b for a, b in zip(mine.values, theirs.values, strict=True)])
