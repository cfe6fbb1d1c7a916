"""The ordinary server, whose calls are counted from its first import on."""

import os
import runpy
import sys
from pathlib import Path

from counting import Calls, answer

SOCKET = "calls.sock"  # in the server's SWARM_HOME

if __name__ == "__main__":
    calls = Calls(Path(os.environ["HOUSE_ROOT"]), "swarm")
    answer(Path(os.environ["SWARM_HOME"]) / SOCKET, calls, tuple(os.environ["HOUSE_OPTIONAL"].split()))
    calls.install()
    sys.argv[0] = "swarm.server"
    runpy.run_module("swarm.server", run_name="__main__")
