"""From the background loop to a caller's iterator."""

import queue
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from swarm import shown
from swarm.client.background import LOOK_S, submit
from swarm.errors import SwarmError
from swarm.forks import Owner
from swarm.results import Generation

OnPiece = Callable[[int, str], None]  # (index of the prompt, new text)


Piece = TypeVar("Piece")


class Stream(Generic[Piece]):
    """An iterator over generated text, and the generations behind it. Closing or dropping it ends the work."""

    def __init__(self, pieces: Generator[Piece, None, None], generations: list[Generation]):
        """pieces: text, or for several prompts (index of the prompt, text)."""
        self._pieces, self.generations = pieces, generations
        self._owner, self._in_use = Owner(), threading.Lock()

    def __repr__(self) -> str:
        if len(self.generations) == 1:
            return f"<Stream of {self.generations[0]!r}>"
        tokens = sum(len(one.token_ids) for one in self.generations)
        return f"<Stream of {shown.count(len(self.generations), 'generation')}, {shown.count(tokens, 'token')}>"

    @property
    def generation(self) -> Generation:
        """Of the first, usually only, prompt; complete once the stream has ended."""
        if not self.generations:
            raise SwarmError("a stream of no prompts has no generation")
        return self.generations[0]

    def __iter__(self) -> "Stream[Piece]":
        return self

    def __enter__(self) -> "Stream[Piece]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __next__(self) -> Piece:
        """Raises what generating fails with, and SwarmError in a forked child, or while another thread waits for a
        piece."""
        self._owner.check("stream")
        with self._alone():
            return next(self._pieces)

    def close(self) -> None:
        """End the work. Raises SwarmError while another thread waits for a piece."""
        with self._alone():
            self._pieces.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise SwarmError("another thread is reading this stream; a stream is for one thread at a time")
        try:
            yield
        finally:
            self._in_use.release()


def drain(start: Callable[[OnPiece], Coroutine[object, object, None]]) -> Generator[tuple[int, str], None, None]:
    """Run a coroutine in the background and yield what it hands to the function it is given. Leaving the iterator
    cancels it."""
    owner = Owner()
    pieces: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
    future = submit(start(lambda index, piece: pieces.put((index, piece))))
    future.add_done_callback(lambda _: pieces.put(None))
    try:
        while True:
            try:
                piece = pieces.get(timeout=LOOK_S)
            except queue.Empty:  # but perhaps there is an interrupt
                continue
            if piece is None:
                break
            yield piece
        future.result()
    finally:
        if owner.is_here:
            future.cancel()


def without_index(pieces: Generator[tuple[int, str], None, None]) -> Generator[str, None, None]:
    """The text alone, where there is one prompt. Leaving the iterator leaves the other."""
    try:
        for _, piece in pieces:
            yield piece
    finally:
        pieces.close()
