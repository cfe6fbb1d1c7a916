"""Several prompts at once, and what is raised when one of them fails."""

import asyncio
from collections.abc import Callable

import pytest

from swarm.client.several import run_all
from swarm.client.stream import drain
from swarm.errors import NoRoute
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
