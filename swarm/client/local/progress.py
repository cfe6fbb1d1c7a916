"""What a LocalSwarm says while it starts, to whoever sits before it; in programs, which have words of their own, to the
log alone."""

import builtins
import logging
import sys

logger = logging.getLogger("swarm.client.local_swarm")


def say(text: str) -> None:
    """A line."""
    logger.info(text)
    if is_interactive():
        sys.stderr.write(f"{text}\n")  # at once: other threads may say something, too
        sys.stderr.flush()


def is_interactive() -> bool:
    """Whether Python is typed into: a notebook, IPython, or its own prompt."""
    return hasattr(builtins, "__IPYTHON__") or hasattr(sys, "ps1")


def is_notebook() -> bool:
    """Whether there are cells, which are run again, and whose results are kept by `Out` and `_`."""
    return hasattr(builtins, "__IPYTHON__")
