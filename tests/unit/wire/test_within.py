"""Steps at the end of something, which have a limit."""

import asyncio
import logging

import pytest

from swarm.wire.tasks import within


def test_a_step_that_does_not_end_is_given_up_with_one_line(caplog):
    with caplog.at_level(logging.WARNING):
        asyncio.run(within(0.05, "settling", asyncio.sleep, 1000))
    assert caplog.messages == ["settling took longer than 0 s, and is given up"]


def test_one_that_ends_in_time_is_carried_out(caplog):
    done = asyncio.Event()

    async def step(value: int) -> None:
        assert value == 7
        done.set()

    asyncio.run(within(60.0, "closing", step, 7))
    assert done.is_set() and not caplog.messages


def test_what_a_step_fails_with_is_raised_its_own_time_limits_too():
    async def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(within(60.0, "closing", fail))
