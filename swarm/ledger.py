"""What `python -m swarm.ledger` was is `python -m swarm ledger serve` now."""

import sys

if __name__ == "__main__":
    sys.exit("error: `python -m swarm.ledger` is `python -m swarm ledger serve` now, with the same options")
