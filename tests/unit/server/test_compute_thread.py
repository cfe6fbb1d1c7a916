"""Where batches are computed: in the event loop if they are short, beside it if the network would have to wait."""

import asyncio
import threading
from collections.abc import Sequence

import torch

from swarm.server.scheduler.batching import BatchLimits
from swarm.server.scheduler.scheduler import Scheduler
from swarm.server.session.steps import Slice
from waiting_sessions import HIDDEN, make_session, make_step

TOKENS = 2  # a step


class Runner:
    """Claims that a token takes `token_s`, and remembers in which threads it was called."""

    def __init__(self) -> None:
        self.token_s = 0.0
        self.threads: list[str] = []

    def run(self, batch: Sequence[Slice]) -> tuple[list[torch.Tensor], float]:
        self.threads.append(threading.current_thread().name)
        return [torch.zeros(item.count, HIDDEN) for item in batch], self.token_s * sum(item.count for item in batch)

    def prepare_next(self, batch: Sequence[Slice]) -> None:
        pass


def test_what_is_expected_to_take_long_is_computed_beside_the_event_loop():
    runner = Runner()
    scheduler = Scheduler(runner, lambda session: None, BatchLimits())

    async def compute(token_s: float, batches: int) -> list[str]:
        runner.token_s, runner.threads = token_s, []
        for _ in range(batches):
            session.accept(make_step(session.steps.length, TOKENS))
            scheduler.wake()
            await session.outbox.next()
        return runner.threads

    async def scenario() -> tuple[list[str], list[str]]:
        scheduler.add(session)
        running = asyncio.create_task(scheduler.run())
        threads = await compute(0.0, 50), await compute(10.0, 3)
        running.cancel()
        return threads

    session = make_session()
    short, long = asyncio.run(scenario())
    assert short[0].startswith("compute")  # nobody knows yet
    assert short[-1] == threading.main_thread().name
    assert long[0] == threading.main_thread().name  # nobody knows that it has become slow
    assert all(name.startswith("compute") for name in long[1:])
