"""Several prompts at once, and what is left of them when one fails or the user interrupts."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from swarm.client.stream import OnPiece
from swarm.errors import SwarmError
from swarm.results import Generation

Fill = Callable[[Generation, Callable[[str], None]], Coroutine[object, object, None]]  # calls the latter with new text


async def run_all(
    fill: Fill, generations: list[Generation], are_several: bool, on_piece: OnPiece = lambda index, piece: None
) -> None:
    """Fill all of `generations` at once. The first error ends them all, and carries what there is by then; are_several:
    it says which prompt's it is. No group of exceptions is in its context: a notebook would dump all of it."""
    failed: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for index, generation in enumerate(generations):
                group.create_task(_named(fill(generation, partial(on_piece, index)), index if are_several else None))
    except BaseExceptionGroup as errors:
        failed = errors.exceptions[0]
    if isinstance(failed, SwarmError):
        failed.generations = generations
    if failed:
        raise failed


@contextmanager
def carrying(generations: Sequence[Generation]) -> Iterator[None]:
    """Whatever goes wrong inside has them in its `generations`: KeyboardInterrupt, too."""
    try:
        yield
    except BaseException as error:
        error.generations = generations  # type: ignore[attr-defined]  # an exception takes any attribute
        raise


async def _named(work: Coroutine[object, object, None], index: int | None) -> None:
    try:
        await work
    except SwarmError as error:
        if index is not None:
            error.tell_prompt(index)
        raise
