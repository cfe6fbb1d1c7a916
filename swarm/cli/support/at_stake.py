"""What peers have at stake, for a command that shows it."""

from collections.abc import Iterator
from contextlib import contextmanager

from swarm.home import client_identity
from swarm.market.ledger.opening import open_ledger
from swarm.market.stakes import Stakes


@contextmanager
def looked_up(where: str) -> Iterator[Stakes]:
    """On the ledger there. Raises SwarmError if it cannot be opened."""
    ledger = open_ledger(where, client_identity())
    stakes = Stakes(ledger)
    try:
        yield stakes
    finally:
        stakes.close()
        ledger.shut()
