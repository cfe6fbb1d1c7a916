"""`python -m swarm.auditor`, which is `python -m swarm auditor`."""

import sys
from importlib import import_module

from swarm.cli.support.shutdown import SHUTDOWN

if __name__ == "__main__":
    SHUTDOWN.listen(sys.argv[1:])  # first: to import the rest takes seconds
    SHUTDOWN.leave(import_module("swarm.cli.auditor").main())
