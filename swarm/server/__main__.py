"""`python -m swarm.server`, which is `python -m swarm server`."""

import sys

from swarm.cli.server import main

if __name__ == "__main__":
    sys.exit(main())
