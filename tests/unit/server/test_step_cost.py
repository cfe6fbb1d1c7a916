"""What a step takes of the processors outside the blocks: learned from what the process takes in all."""

import asyncio

from swarm.server.costs import step_cost
from swarm.server.costs.step_cost import PAUSE_S, WINDOW_STEPS, StepCost


class Process:
    """One whose clocks are set by hand."""

    def __init__(self, threads: int = 1):
        self.now_s = self.taken_s = 0.0
        self.cost = StepCost(threads, lambda: self.taken_s, lambda: self.now_s)

    def batch(self, steps: int, step_s: float, computing_s: float, threads: int = 1, is_decoding: bool = True) -> None:
        self.now_s += steps * step_s + computing_s
        self.taken_s += steps * step_s + computing_s * threads
        self.cost.observe(steps, is_decoding, computing_s)


def test_what_is_estimated_at_the_start_gives_way_to_what_is_seen():
    process = Process()
    process.cost.start(0.004)
    assert process.cost.value_s == 0.004
    for _ in range(40 * WINDOW_STEPS // 8):
        process.batch(8, 0.001, 0.02)
    assert abs(process.cost.value_s - 0.001) < 1e-5


def test_an_estimate_is_made_again_when_the_start_is_over_and_the_less_of_both_counts(monkeypatch):
    monkeypatch.setattr(step_cost, "SETTLED_S", 0.0)
    process, again_s = Process(), iter([0.002, 0.003])

    async def estimate() -> float:
        return next(again_s)

    process.cost.start(0.004)
    for _ in range(2):
        asyncio.run(process.cost.start_again(estimate))
    assert process.cost.value_s == 0.002
    process.batch(WINDOW_STEPS, 0.001, 0.02)
    asyncio.run(process.cost.start_again(estimate))  # which asks nobody any more
    assert process.cost.value_s < 0.002


def test_an_estimate_comes_too_late_where_it_was_seen():
    process = Process()
    process.batch(WINDOW_STEPS, 0.001, 0.02)
    process.cost.start(0.004)
    assert abs(process.cost.value_s - 0.001) < 1e-9


def test_all_threads_that_compute_are_left_out():
    process = Process(threads=2)
    process.batch(WINDOW_STEPS, 0.001, 0.02, threads=2)
    assert abs(process.cost.value_s - 0.001) < 1e-9


def test_prompts_and_what_was_done_in_a_pause_tell_nothing():
    process = Process()
    process.cost.start(0.001)
    process.batch(WINDOW_STEPS - 1, 0.003, 0.02)
    process.batch(1, 0.5, 0.02, is_decoding=False)
    process.batch(WINDOW_STEPS - 1, 0.003, 0.02)
    process.now_s, process.taken_s = process.now_s + 2 * PAUSE_S, process.taken_s + 0.4
    process.batch(1, 0.003, 0.02)
    assert process.cost.value_s == 0.001
