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
