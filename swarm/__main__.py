"""`python -m swarm VERB`: one command, many verbs. See swarm.cli.entry.verbs."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - before anything is imported that an older one cannot read
    version = sys.version.split()[0]
    sys.exit(f"error: this is Python {version}, and 3.11 or newer is needed: activate the environment that swarm was "
             "installed into (source .venv/bin/activate)")  # fmt: skip

from swarm.cli.entry.main import main

if __name__ == "__main__":
    sys.exit(main())
