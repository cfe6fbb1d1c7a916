"""The ordinary server, which tells on SIGUSR1 what it has imported, in the file that `TOLD_FILE` names."""

import os
import signal
import sys
from pathlib import Path

from swarm.cli.server import main


def tell(*_: object) -> None:
    told = Path(os.environ["TOLD_FILE"])
    unfinished = told.with_suffix(".part")
    unfinished.write_text("\n".join(sorted(sys.modules)))
    unfinished.rename(told)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main())
