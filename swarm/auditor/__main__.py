"""`python -m swarm.auditor`, which is `python -m swarm auditor`."""

import sys

from swarm.cli.entry.main import start

if __name__ == "__main__":
    start("auditor", sys.argv[1:])
