"""One session on each engine in turn, several times over: a shared machine may run at half its speed a minute later,
and only neighbours in time can be compared."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from speed.engines import BASE, Competitor, say
from speed.room import room_for
from swarm.errors import SwarmError
from swarm.measure.figures import Case, Run, ratio
from swarm.measure.measuring import Engine, SwarmEngine, measure
from swarm.measure.peers import describe
from swarm.measure.plan import duration
from swarm.measure.progress import Progress
from swarm.measure.tables import as_row, number, quartiles


@dataclass(frozen=True)
class Setting:
    rounds: int
    context: int
    tokens: int
    vocabulary: int


Failure = SwarmError | KeyboardInterrupt


def take_turns(competitors: Sequence[Competitor], setting: Setting) -> tuple[list[Case], list[dict], Failure | None]:
    """All engines are there at once, and measured when their turn comes. Also the peers of a swarm that was there; and
    what cut it short: then there are only those turns that all have had."""
    with ExitStack() as stack:
        engines: dict[Competitor, Engine] = {}
        room = room_for([(1, setting.context)], setting.tokens)
        for competitor in competitors:
            say(f"loading {competitor.name}")
            engines[competitor] = stack.enter_context(competitor.open(room))
        expected_s = {competitor: _warm_up(competitor, engine, setting) for competitor, engine in engines.items()}
        runs: dict[Competitor, list[Run]] = {competitor: [] for competitor in engines}
        failure: Failure | None = None
        try:
            _turns(engines, setting, expected_s, runs)
        except (SwarmError, KeyboardInterrupt) as error:
            failure = error
        turns = min(map(len, runs.values()))
        cases = [
            Case(competitor.name, 1, setting.context, found[:turns]) for competitor, found in runs.items() if turns
        ]
        there = [engine for competitor, engine in engines.items() if not competitor.is_ours]
        swarms = [engine for engine in there if isinstance(engine, SwarmEngine)]
        return cases, [row for engine in swarms for row in describe(engine, is_there=failure is None)], failure


def _warm_up(competitor: Competitor, engine: Engine, setting: Setting) -> float:
    """Seconds of a turn."""
    say(f"warming up {competitor.name}")
    started = time.monotonic()
    _run(engine, setting)
    return time.monotonic() - started


def _turns(
    engines: dict[Competitor, Engine],
    setting: Setting,
    expected_s: dict[Competitor, float],
    runs: dict[Competitor, list[Run]],
) -> None:
    total_s = sum(expected_s.values()) * setting.rounds
    say(f"{len(engines)} engines, {setting.rounds} turns each: about {duration(total_s)}")
    progress = Progress(total_s)
    for turn in range(1, setting.rounds + 1):
        for competitor, engine in engines.items():
            progress.step(f"turn {turn} of {setting.rounds}: {competitor.name}", expected_s[competitor])
            runs[competitor].append(_run(engine, setting))
    progress.over()


def _run(engine: Engine, setting: Setting) -> Run:
    return measure(engine, 1, setting.context, setting.tokens, setting.vocabulary)


def rows(cases: Sequence[Case]) -> list[dict[str, object]]:
    """For JSON."""
    base = _base(cases)
    found = []
    for case in cases:
        times = ratio(case, base) if base else None
        compared = {"median": times.median, "quartiles": times.quartiles} if times else None
        found.append({**as_row(case), f"times {BASE}": compared})
    return found


def cells(cases: Sequence[Case]) -> list[dict[str, str]]:
    """For a table. A star: in doubt; no ratio then."""
    base = _base(cases)
    found = []
    for case in cases:
        rate, times = case.decode or case.total, ratio(case, base) if base else None
        found.append(
            {
                "engine, one session": case.engine,
                "tokens/s": number(rate.median) + "*" * bool(case.doubts),
                "quartiles": quartiles(rate),
                f"times {BASE}": number(times.median) if times else "-",
                "in all": number(case.total.median),
                "prompt tokens/s": number(case.median("prompt_per_s")),
            }
        )
    return found


def _base(cases: Sequence[Case]) -> Case | None:
    return next((case for case in cases if case.engine == BASE), None)
