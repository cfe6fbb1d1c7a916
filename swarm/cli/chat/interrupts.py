"""Ctrl-C in a chat: it stops what is going on, and the chat goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

from swarm.cli.support.shutdown import SHUTDOWN


class Interrupts:
    """Of one chat."""

    def __init__(self) -> None:
        self._stops = False  # what is going on may be stopped

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """For a whole chat: Ctrl-C does not end the program."""
        with SHUTDOWN.keeps_interrupts(self._heed):
            yield

    @contextmanager
    def stop(self) -> Iterator["Stopped"]:
        """What is done within ends with Ctrl-C, as the result then says. Where the program is told to end, the
        KeyboardInterrupt goes through."""
        stopped = Stopped()
        self._stops = True
        try:
            yield stopped
        except KeyboardInterrupt:
            if SHUTDOWN.is_told:
                raise
            stopped.by_user = True
        finally:
            self._stops = False

    def _heed(self) -> None:
        if self._stops:
            raise KeyboardInterrupt


class Stopped:
    """How something ended."""

    def __init__(self) -> None:
        self.by_user = False
