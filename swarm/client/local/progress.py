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
        print(text, file=sys.stderr, flush=True)


def is_interactive() -> bool:
    """Whether Python is typed into: a notebook, IPython, or its own prompt."""
    return hasattr(builtins, "__IPYTHON__") or hasattr(sys, "ps1")
