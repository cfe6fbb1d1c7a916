"""What this program is called, so that what it tells people to type is what works for them. Imports nothing heavy, and
may be used by all."""

import os
import shlex
import sys

SCRIPT = "swarm"  # as it is installed, on the PATH
_MODULES = ("server", "auditor")  # verbs that are modules as well: python -m swarm.server


def command(*words: str) -> str:
    """What to type for a verb with its arguments: ("status", "--once") is `swarm status --once` where this process was
    started by the installed script, else `python -m swarm status --once`."""
    if os.path.basename(sys.argv[0] or "") == SCRIPT:
        return shlex.join([SCRIPT, *words])
    if words[:1] and words[0] in _MODULES:
        return shlex.join(["python", "-m", f"swarm.{words[0]}", *words[1:]])
    return shlex.join(["python", "-m", "swarm", *words])


def option(name: str, typed: str = "") -> str:
    """What to say of an option to whoever uses it: `max_price` is --max-price where this process is a command. typed:
    as it is called there, if otherwise."""
    return (typed or f"--{name.replace('_', '-')}") if _is_command() else name


def _is_command() -> bool:
    """Whether this process was started by the script, or as one of this package's modules."""
    started = sys.argv[0] if sys.argv else ""
    name = os.path.basename(started)
    inside = os.path.abspath(started).startswith(os.path.dirname(os.path.abspath(__file__)) + os.sep)
    return name == SCRIPT or (name == "__main__.py" and inside)
