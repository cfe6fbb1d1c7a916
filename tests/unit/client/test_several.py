"""Several prompts at once, and what is raised when one of them fails."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from swarm.client.several import run_all
from swarm.client.stream import Stream, drain
from swarm.errors import NoRoute, SwarmError
from swarm.results import Generation


async def failing(generation: Generation, on_piece: Callable[[str], None]) -> None:
    raise NoRoute("nobody is there")


def causes(error: BaseException) -> list[BaseException]:
    """It, and all that a traceback would show with it."""
    found, next_ones = [], [error]
    while next_ones:
        one = next_ones.pop()
        found.append(one)
        next_ones += [other for other in (one.__cause__, one.__context__) if other is not None]
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_raised_has_no_group_of_exceptions_behind_it(count):
    """IPython gives up on a traceback that has one, and dumps all of it on standard error."""
    generations = [Generation([1]) for _ in range(count)]

    def generate() -> None:
        asyncio.run(run_all(failing, generations, are_several=count > 1))

    def stream() -> None:
        list(drain(lambda on_piece: run_all(failing, generations, count > 1, on_piece)))

    for work in (generate, stream):
        with pytest.raises(NoRoute, match="nobody is there") as raised:
            work()
        assert raised.value.generations is generations
        assert not any(isinstance(one, BaseExceptionGroup) for one in causes(raised.value))


def test_a_stream_is_for_one_thread_at_a_time():
    waits, goes_on = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        waits.set()
        assert goes_on.wait(10)
        yield "a piece"

    stream, found = Stream(pieces(), [Generation([1])]), []
    thread = threading.Thread(target=lambda: found.extend(stream))
    thread.start()
    assert waits.wait(10)
    for attempt in (lambda: next(stream), stream.close):
        with pytest.raises(SwarmError, match=r"^another thread is reading this stream"):
            attempt()
    goes_on.set()
    thread.join()
    assert found == ["a piece"]
    stream.close()
