"""From the background loop to a caller's iterator."""

import queue
from collections.abc import Callable, Coroutine, Generator

from swarm.client.background import submit
from swarm.forks import Owner
from swarm.results import Generation

OnPiece = Callable[[int, str], None]  # (index of the prompt, new text)


class Stream:
    """An iterator over generated text, and the generations behind it. Closing or dropping it ends the work."""

    def __init__(self, pieces: Generator[tuple[int, str], None, None], generations: list[Generation], with_index: bool):
        self._pieces, self.generations, self._with_index = pieces, generations, with_index
        self._owner = Owner()

    @property
    def generation(self) -> Generation:
        """Of the first, usually only, prompt; complete once the stream has ended."""
        return self.generations[0]

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> str | tuple[int, str]:
        """Raises what generating fails with, and SwarmError in a forked child."""
        self._owner.check("stream")
        index, piece = next(self._pieces)
        return (index, piece) if self._with_index else piece

    def close(self) -> None:
        self._pieces.close()


def drain(start: Callable[[OnPiece], Coroutine[object, object, None]]) -> Generator[tuple[int, str], None, None]:
    """Run a coroutine in the background and yield what it hands to the function it is given. Leaving the iterator
    cancels it."""
    owner = Owner()
    pieces: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
    future = submit(start(lambda index, piece: pieces.put((index, piece))))
    future.add_done_callback(lambda _: pieces.put(None))
    try:
        while (piece := pieces.get()) is not None:
            yield piece
        future.result()
    finally:
        if owner.is_here:
            future.cancel()
