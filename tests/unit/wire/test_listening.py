"""How long others are silent, as this process can tell."""

import asyncio
import time

import pytest

from swarm.wire.listening import TICK_S, heard


async def answering(after_s: float) -> str:
    await asyncio.sleep(after_s)
    return "here"


def test_an_answer_is_returned_and_what_it_raises_is_raised():
    async def refusing() -> None:
        raise ValueError("no")

    assert asyncio.run(heard(answering(0.0), 1.0)) == "here"
    with pytest.raises(ValueError, match="no"):
        asyncio.run(heard(refusing(), 1.0))


def test_silence_ends_the_wait_and_what_was_asked():
    ended: list[bool] = []

    async def never() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await heard(never(), 2 * TICK_S)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert ended == [True]


def test_an_answer_that_came_while_this_process_was_at_something_else_is_heard():
    """It came in time, and takes a few more rounds of the event loop to be read, as gRPC's do."""

    async def scenario() -> str:
        loop, answer = asyncio.get_running_loop(), asyncio.Event()

        def arrive(rounds: int = 20) -> None:
            loop.call_soon(arrive, rounds - 1) if rounds else answer.set()

        async def read() -> str:
            await answer.wait()
            return "here"

        asking = asyncio.create_task(heard(read(), 4 * TICK_S))
        loop.call_later(TICK_S, time.sleep, 20 * TICK_S)
        loop.call_later(2 * TICK_S, arrive)
        return await asking

    assert asyncio.run(scenario()) == "here"
