"""File handles: each connection takes one, and where none is left, nobody new gets in."""

import errno
import logging
import os
import resource
from contextlib import ExitStack, suppress

logger = logging.getLogger(__name__)

LEAST_FREE = 4  # fewer are as good as none: what is published needs some, too


def raise_limit() -> None:
    """Let this process have as many as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # what it has will have to do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Handles:
    """Says when they are used up, and when there are some again: once each."""

    def __init__(self) -> None:
        self._used_up = False

    def look(self) -> None:
        used_up = not _some_left()
        if used_up and not self._used_up:
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            logger.warning("all %d file handles are used up: nobody new gets in; allow more (ulimit -n)", most)
        elif self._used_up and not used_up:
            logger.warning("there are file handles again: others get in")
        self._used_up = used_up


def _some_left() -> bool:
    with ExitStack() as stack:
        try:
            for _ in range(LEAST_FREE):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
