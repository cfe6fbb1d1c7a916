"""What a process logs: on standard error, and the same thing not again and again. Imports nothing heavy."""

import logging
import sys
import time
from collections.abc import Callable

from swarm.cli.support.streams import write_in_time

AGAIN_S = 60.0  # before what was said is said again
MOST_REMEMBERED = 256


class Seldom(logging.Filter):
    """Lets a message pass once in AGAIN_S, and says then how often it was held back. What goes on failing (memory,
    threads, a disk) would else fill the log, and hide what else there is. Errors with a traceback are the same where
    they come from the same place, whatever their figures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._clock = clock
        self._said: dict[object, tuple[float, int]] = {}  # when it passed, and how often it was held back since

    def forget(self) -> None:
        """What was said may be said again: to somebody who has asked anew."""
        self._said.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        key = record.name, record.levelno, record.msg if record.exc_info else record.getMessage()
        now_s = self._clock()
        passed_s, held_back = self._said.pop(key, (float("-inf"), 0))
        if now_s - passed_s < AGAIN_S:
            self._said[key] = passed_s, held_back + 1
            return False
        if held_back:
            record.msg, record.args = f"{record.getMessage()} (and {held_back} times more since)", ()
        self._said[key] = now_s, 0
        while len(self._said) > MOST_REMEMBERED:
            self._said.pop(next(iter(self._said)))
        return True


class _StandardError(logging.Handler):
    """Which is not waited for: what is lost while nobody reads is counted."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{self.format(record)}\n"
        if self._lost:
            text = f"({self._lost} lines were lost here: nobody read them)\n{text}"
        try:
            is_taken = write_in_time(sys.stderr, text, 0.0)
        except (OSError, ValueError):
            return
        self._lost = 0 if is_taken else self._lost + 1


def set_up(level: int) -> None:
    """For a program: from `level` on. Where somebody has set up logging already, that stays."""
    handler = _StandardError()
    handler.addFilter(Seldom())
    logging.getLogger("huggingface_hub").setLevel(max(level, logging.ERROR))  # what fails there, is told by an error
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", handlers=[handler])
