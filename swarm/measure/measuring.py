"""Measuring an engine: a swarm behind a client, or anything else that takes prompts and says when each token came."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from swarm import shown
from swarm.measure.figures import Case, Run
from swarm.measure.here import serving_here
from swarm.measure.load import LoadMeter
from swarm.measure.plan import LEAST_TOKENS, duration, expected_s, too_long
from swarm.measure.progress import Progress

if TYPE_CHECKING:
    from swarm.client.client import Client
    from swarm.results import Generation, Hop
    from swarm.route.peer import PeerInfo

# prompts, new tokens of each -> of each session, when each new token came, in seconds after the request
Engine = Callable[[list[list[int]], int], Sequence[Sequence[float]]]

WARM_UP = 512  # tokens of the prompt by which it is told how long the others will take
VOCABULARY = 21_000  # of prompts; any model's is larger, but for those of tests


def prompt_tokens(length: int, number: int, vocabulary: int = VOCABULARY) -> list[int]:
    """Token ids of a prompt that is the same in every run, and another for each `number`."""
    return [(1000 + (37 * index + 101 * number) % 20_000) % vocabulary for index in range(length)]


class SwarmEngine:
    """Generates with a client. `generations`: what it generated last; `hops`: through which peers, how often, ever;
    `served`: by peer id, in which format they said that they compute."""

    def __init__(self, client: "Client", **options: Any):
        """options: of `client.generate`."""
        self.client, self._options = client, {**options, "ignore_eos": True}
        self.generations: list[Generation] = []
        self.hops: Counter[Hop] = Counter()
        self.served: dict[str, str] = {}

    def __call__(self, prompts: list[list[int]], count: int) -> list[list[float]]:
        # One alone is no list: else an error says which of them it is about.
        prompt = prompts if len(prompts) > 1 else prompts[0]
        out = self.client.generate(prompt, **{**self._options, "max_new_tokens": count})
        self.generations = out if isinstance(out, list) else [out]
        self.hops.update(hop for generation in self.generations for hop in generation.route)
        self.served |= {info.peer_id: info.format for info in self._listed()}
        return [times_of(generation) for generation in self.generations]

    def processes(self) -> set[int] | None:
        """Of this machine, those of the swarm's peers; None if they cannot be told."""
        peers = {f"{info.endpoint.host}:{info.endpoint.port}" for info in self._listed()}
        return serving_here(peers | {hop.address for hop in self.hops})

    def repairs(self) -> int:
        """How often hops were replaced, in what it generated last."""
        return sum(max(one.reroutes, len(one.repairs)) for one in self.generations)

    def formats(self) -> frozenset[str]:
        """Of the peers that computed what it generated last."""
        peers = {hop.peer_id for one in self.generations for hop in one.route}
        return frozenset(self.served[peer_id] for peer_id in peers & self.served.keys())

    def _listed(self) -> "list[PeerInfo]":
        return self.client.parts.router.table.listed()


def times_of(generation: "Generation") -> list[float]:
    """When each of its tokens came, in seconds after it began."""
    return list(accumulate([generation.time_to_first_token_s, *generation.step_latencies_s]))


def measure(engine: Engine, sessions: int, context: int, count: int, vocabulary: int = VOCABULARY) -> Run:
    """One run of so many sessions at once."""
    prompts = [prompt_tokens(context, number, vocabulary) for number in range(sessions)]
    if not isinstance(engine, SwarmEngine):
        meter = LoadMeter()
        return Run(context, engine(prompts, count), meter.read())
    own = engine.processes()
    meter = LoadMeter(own or ())
    times = engine(prompts, count)
    load = None if own is None else meter.read()
    return Run(context, times, load, engine.repairs(), engine.formats())


@dataclass(frozen=True)
class Wanted:
    """What is to be measured of each engine."""

    cases: Sequence[tuple[int, int]]  # sessions, context
    tokens: int  # new ones, of each session
    repeats: int
    limit_s: float  # cases of which one run would take longer are left out
    vocabulary: int = VOCABULARY


@dataclass
class Measured:
    """So far: what cuts a measurement short takes nothing back."""

    cases: list[Case] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # each with the reason


def measure_all(engines: Mapping[str, Engine], wanted: Wanted, say: Callable[[str], None], found: Measured) -> None:
    """Every case that does not take too long, so often as wanted; several engines take turns, so that the n-th runs of
    a case are neighbours in time. How far it is goes to standard error.

    engines: by name. say: told what is left out. found: takes each case as it is complete.
    """
    todo: list[dict[str, float]] = []  # of each case: seconds of a run, by engine
    speeds = {name: _warm_up(engine, wanted) for name, engine in engines.items()}
    for sessions, context in wanted.cases:
        todo.append({})
        for name, (prompt_per_s, step_s) in speeds.items():
            if why := too_long(sessions, context, wanted.tokens, prompt_per_s, step_s, wanted.limit_s):
                found.left_out.append(f"{name}, {_case(sessions, context)}: {why}")
                say(f"left out: {found.left_out[-1]}")
            else:
                todo[-1][name] = expected_s(sessions, context, wanted.tokens, prompt_per_s, step_s)
    total_s = sum(sum(runs_s.values()) for runs_s in todo) * wanted.repeats
    number = sum(map(bool, todo))
    say(f"{', '.join(engines)}: cases: {number}, runs of each: {wanted.repeats}, about {duration(total_s)}")
    progress = Progress(total_s)
    for (sessions, context), runs_s in zip(wanted.cases, todo, strict=True):
        runs: dict[str, list[Run]] = {name: [] for name in runs_s}
        for number in range(1, wanted.repeats + 1):
            for name, seconds in runs_s.items():
                progress.step(f"{name}, {_case(sessions, context)}, run {number} of {wanted.repeats}", seconds)
                runs[name].append(measure(engines[name], sessions, context, wanted.tokens, wanted.vocabulary))
        found.cases += [Case(name, sessions, context, its_runs) for name, its_runs in runs.items()]
    progress.over()


def _case(sessions: int, context: int) -> str:
    return f"{shown.count(sessions, 'session')}, context {context}"


def _warm_up(engine: Engine, wanted: Wanted) -> tuple[float, float]:
    """Tokens of a prompt per second, and seconds of a step, of one session."""
    measure(engine, 1, 16, LEAST_TOKENS, wanted.vocabulary)
    longest = min(WARM_UP, max(context for _, context in wanted.cases))
    run = measure(engine, 1, longest, LEAST_TOKENS, wanted.vocabulary)
    return run.prompt_per_s, run.step_ms / 1000
