"""`python -m swarm.auditor`, which is `python -m swarm auditor`."""

import sys

from swarm.cli.auditor import main

if __name__ == "__main__":
    sys.exit(main())
