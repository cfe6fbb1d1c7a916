"""Many prompts that nobody waits for, on what peers have left over; on demand where a deadline asks for it."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from swarm import clock, shown
from swarm.client.batch_files import AnswerFile, Job, check_ids
from swarm.errors import DiskTrouble, InvalidRequest, LedgerRefusal, ModelError, NoRoute, PaymentRequired, SwarmError
from swarm.generate.options import GenerateOptions, Prompt, parse_options
from swarm.program import option
from swarm.results import Generation
from swarm.route.means import RunningMean
from swarm.wire.formats.amounts import format_credits

CAUTION = 2.0  # times what the rest should take on demand: from then on a deadline is near
UNKNOWN_SHARE = 0.25  # of the time until the deadline that is kept for the rest, while nothing is known of its speed
LOOK_S = 1.0  # between two looks at how it goes
MAX_TRIES = 5  # of one prompt where there is no deadline
PAUSES_S = (1.0, 30.0)  # before a prompt is tried again: the first, and the longest

Fill = Callable[[Generation, GenerateOptions], Coroutine[object, object, None]]


@dataclass(frozen=True)
class Plan:
    """How a batch is to run."""

    options: Mapping[str, object]  # of `Client.generate`
    concurrency: int = 16  # prompts at once
    deadline: float | None = None  # by swarm.clock.steady_s()


@dataclass
class Progress:
    """How far a batch has come."""

    total: int  # prompts in this run
    started: float  # by swarm.clock.steady_s()
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # why, by id
    tokens: int = 0  # generated, those of answers under way included
    cost: int = 0  # nano-credits
    hurried: bool = False  # the rest is run on demand
    late: tuple[str, ...] = ()  # ids of those for which there was no time

    def __repr__(self) -> str:
        parts = [f"{self.done} of {shown.count(self.total, 'prompt')} answered"]
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{len(self.late)} too late"] if self.late else []
        parts.append(shown.count(self.tokens, "token"))
        parts += [format_credits(self.cost)] if self.cost else []
        return f"<Progress {', '.join(parts)}>"

    @property
    def left(self) -> int:
        return self.total - self.done - len(self.failed)

    def tokens_per_s(self, now: float) -> float:
        return self.tokens / max(now - self.started, 1e-9)


def must_hurry(
    left: int, concurrency: int, answer_s: float | None, started: float, deadline: float, now: float
) -> bool:
    """Whether `left` prompts have to be run on demand to be answered by `deadline`. answer_s: what an answer takes once
    it has a chain, None: not known yet. Times are by one clock, in seconds."""
    if answer_s is None:
        reserve_s = UNKNOWN_SHARE * (deadline - started)
    else:
        reserve_s = CAUTION * answer_s * math.ceil(left / concurrency)
    return now + reserve_s >= deadline


class Batch:
    """Works through `jobs`, writing every answer to `answers` as it comes. Lives in one event loop, once.

    A prompt that fails for want of peers is tried again; one that can never succeed is left out. What costs more than
    may be spent ends the run, and so do blocks that nobody serves, once the client has waited for them.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        answers: AnswerFile,
        plan: Plan,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ):
        """jobs: without an answer so far. on_progress: called every LOOK_S or more often, from another thread. Raises
        InvalidRequest for options that make no sense, and for two jobs with the same id."""
        check_ids(jobs)
        if plan.concurrency < 1:
            raise InvalidRequest(f"{option('concurrency')} is at least 1, not {plan.concurrency}")
        self._options = {job.id: parse_options({**plan.options, **_own_options(job), "batch": True}) for job in jobs}
        self._jobs, self._answers, self._plan, self._on_progress = list(jobs), answers, plan, on_progress
        self.progress = Progress(len(jobs), clock.steady_s())
        self._running: dict[str, Generation] = {}
        self._finished_tokens = 0
        self._answer_s = RunningMean(0.2)

    async def run(self, encode: Callable[[Prompt], list[int]], fill: Fill) -> None:
        """encode: a prompt's tokens. fill: generates. Raises PaymentRequired, LedgerRefusal, NoRoute."""
        self.progress.started = clock.steady_s()
        jobs = iter(self._jobs)
        count = min(self._plan.concurrency, len(self._jobs))
        workers = {asyncio.create_task(self._work(jobs, encode, fill)) for _ in range(count)}
        try:
            while workers and clock.steady_s() < self._deadline:
                wait_s = min(LOOK_S, max(self._deadline - clock.steady_s(), 0.0))
                done, workers = await asyncio.wait(workers, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                for worker in done:
                    worker.result()
                self._report()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if workers:
            self.progress.late = tuple(job.id for job in self._answers.missing(self._jobs)
                                       if job.id not in self.progress.failed)  # fmt: skip
        self._report()

    @property
    def _deadline(self) -> float:
        return math.inf if self._plan.deadline is None else self._plan.deadline

    def _report(self) -> None:
        self.progress.tokens = self._finished_tokens + sum(len(one.token_ids) for one in self._running.values())
        self._on_progress(self.progress)

    async def _work(self, jobs: Iterator[Job], encode: Callable[[Prompt], list[int]], fill: Fill) -> None:
        for job in jobs:
            try:
                await self._answer(job, encode(job.prompt), fill)
            except (PaymentRequired, LedgerRefusal, DiskTrouble):  # the next would fare no better, and cost money
                raise
            except SwarmError as error:
                if isinstance(error, NoRoute) and error.uncovered:  # the others would wait as long for as little
                    raise
                self.progress.failed[job.id] = str(error)
            finally:
                self._running.pop(job.id, None)

    async def _answer(self, job: Job, tokens: list[int], fill: Fill) -> None:
        """Raises what is wrong with `job`, or with the swarm for too long."""
        pause_s, tries = PAUSES_S[0], 0
        while True:
            try:
                generation = await self._generate(job, tokens, fill)
                break
            except (PaymentRequired, InvalidRequest, ModelError):
                raise
            except SwarmError as error:
                tries += 1
                if (tries == MAX_TRIES or isinstance(error, NoRoute)) and self._plan.deadline is None:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSES_S[1])
        await asyncio.to_thread(self._answers.add, job, _as_answer(generation))
        self._note(job, generation)

    async def _generate(self, job: Job, tokens: list[int], fill: Fill) -> Generation:
        """In the background; if the deadline comes near and it gets on no further, again on demand."""
        while True:
            options = self._options[job.id]
            if self._is_near():
                options = parse_options({**self._plan.options, **_own_options(job)})
            generation = self._running[job.id] = Generation(list(tokens))
            task = asyncio.create_task(fill(generation, options))
            try:
                while not await self._stalls(task, generation, options.background):
                    if task.done():
                        task.result()
                        return generation
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _stalls(self, task: asyncio.Task[None], generation: Generation, background: bool) -> bool:
        """Look after a while: whether it is background work that got no further, and the deadline is near."""
        seen = len(generation.token_ids)
        await asyncio.wait({task}, timeout=LOOK_S)
        return not task.done() and background and len(generation.token_ids) == seen and self._is_near()

    def _is_near(self) -> bool:
        if self._plan.deadline is None:
            return False
        started, deadline, now = self.progress.started, self._plan.deadline, clock.steady_s()
        answer_s = self._answer_s.value if self._answer_s.is_known else None
        near = must_hurry(self.progress.left, self._plan.concurrency, answer_s, started, deadline, now)
        self.progress.hurried |= near
        return near

    def _note(self, job: Job, generation: Generation) -> None:
        self._running.pop(job.id, None)
        self.progress.done += 1
        self.progress.cost += generation.cost
        self._finished_tokens += len(generation.token_ids)
        self._answer_s.observe(generation.computing_s)
        self._report()


def _own_options(job: Job) -> dict[str, object]:
    return {} if job.max_new_tokens is None else {"max_new_tokens": job.max_new_tokens}


def _as_answer(generation: Generation) -> dict[str, object]:
    return {
        "text": generation.text,
        "finish_reason": generation.finish_reason,
        "prompt_tokens": len(generation.prompt_token_ids),
        "tokens": len(generation.token_ids),
        "cost": generation.cost,
    }
