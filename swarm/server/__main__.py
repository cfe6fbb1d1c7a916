"""`python -m swarm.server`, which is `python -m swarm server`."""

import sys

from swarm.cli.entry.main import start

if __name__ == "__main__":
    start("server", sys.argv[1:])
