"""Measuring an engine: a swarm behind a client, or anything else that takes prompts and says when each token came."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from swarm.measure.figures import Case, Run
from swarm.measure.here import serving_here
from swarm.measure.load import LoadMeter
from swarm.measure.plan import LEAST_TOKENS, duration, expected_s, too_long
from swarm.measure.progress import Progress

if TYPE_CHECKING:
    from swarm.client.client import Client
    from swarm.results import Generation, Hop

# prompts, new tokens of each -> of each session, when each new token came, in seconds after the request
Engine = Callable[[list[list[int]], int], Sequence[Sequence[float]]]

WARM_UP = 512  # tokens of the prompt by which it is told how long the others will take
VOCABULARY = 21_000  # of prompts; any model's is larger, but for those of tests


def prompt_tokens(length: int, number: int, vocabulary: int = VOCABULARY) -> list[int]:
    """Token ids of a prompt that is the same in every run, and another for each `number`."""
    return [(1000 + (37 * index + 101 * number) % 20_000) % vocabulary for index in range(length)]


class SwarmEngine:
    """Generates with a client. `generations`: what it generated last; `hops`: through which peers, how often, ever."""

    def __init__(self, client: "Client", **options: Any):
        """options: of `client.generate`."""
        self.client, self._options = client, {**options, "ignore_eos": True}
        self.generations: list[Generation] = []
        self.hops: Counter[Hop] = Counter()

    def __call__(self, prompts: list[list[int]], count: int) -> list[list[float]]:
        out = self.client.generate(prompts, **{**self._options, "max_new_tokens": count})
        self.generations = out if isinstance(out, list) else [out]
        self.hops.update(hop for generation in self.generations for hop in generation.route)
        return [times_of(generation) for generation in self.generations]

    def processes(self) -> set[int] | None:
        """Of this machine, those of peers that sessions went through; None if they cannot be told."""
        return serving_here({hop.address for hop in self.hops})

    def repairs(self) -> int:
        """How often hops were replaced, in what it generated last."""
        return sum(max(one.reroutes, len(one.repairs)) for one in self.generations)


def times_of(generation: "Generation") -> list[float]:
    """When each of its tokens came, in seconds after it began."""
    return list(accumulate([generation.time_to_first_token_s, *generation.step_latencies_s]))


def measure(engine: Engine, sessions: int, context: int, count: int, vocabulary: int = VOCABULARY) -> Run:
    """One run of so many sessions at once."""
    prompts = [prompt_tokens(context, number, vocabulary) for number in range(sessions)]
    own = engine.processes() if isinstance(engine, SwarmEngine) else set()
    meter = LoadMeter(own or ())
    times = engine(prompts, count)
    load = None if own is None else meter.read()
    repairs = engine.repairs() if isinstance(engine, SwarmEngine) else 0
    return Run(context, times, load, repairs)


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
    """Of one engine."""

    cases: list[Case] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # each with the reason


def measure_all(name: str, engine: Engine, wanted: Wanted, say: Callable[[str], None]) -> Measured:
    """Every case that does not take too long, so often as wanted; how far it is goes to standard error. say: told what
    is left out."""
    prompt_per_s, step_s = _warm_up(engine, wanted)
    found, todo = Measured(), []
    for sessions, context in wanted.cases:
        if why := too_long(sessions, context, wanted.tokens, prompt_per_s, step_s, wanted.limit_s):
            found.left_out.append(f"{name}, {_case(sessions, context)}: {why}")
            say(f"left out: {found.left_out[-1]}")
        else:
            todo.append((sessions, context, expected_s(sessions, context, wanted.tokens, prompt_per_s, step_s)))
    total_s = sum(seconds for *_, seconds in todo) * wanted.repeats
    say(f"{name}: cases: {len(todo)}, runs of each: {wanted.repeats}, about {duration(total_s)}")
    progress = Progress(total_s)
    for sessions, context, seconds in todo:
        runs = []
        for number in range(1, wanted.repeats + 1):
            progress.step(f"{name}, {_case(sessions, context)}, run {number} of {wanted.repeats}", seconds)
            runs.append(_run(engine, sessions, context, wanted))
        found.cases.append(Case(name, sessions, context, runs))
    progress.over()
    return found


def _case(sessions: int, context: int) -> str:
    return f"{sessions} session{'s' * (sessions > 1)}, context {context}"


def _run(engine: Engine, sessions: int, context: int, wanted: Wanted) -> Run:
    return measure(engine, sessions, context, wanted.tokens, wanted.vocabulary)


def _warm_up(engine: Engine, wanted: Wanted) -> tuple[float, float]:
    """Tokens of a prompt per second, and seconds of a step, of one session."""
    measure(engine, 1, 16, LEAST_TOKENS, wanted.vocabulary)
    longest = min(WARM_UP, max(context for _, context in wanted.cases))
    run = measure(engine, 1, longest, LEAST_TOKENS, wanted.vocabulary)
    return run.prompt_per_s, run.step_ms / 1000
