"""What a ledger refuses, and that it changes nothing."""

import pytest

from ledgers import World
from swarm.errors import LedgerRefusal


def everything(world: World) -> tuple:
    """All that can be read, but for the entries, which on a chain take in other people's."""
    ledger = world.issuer
    accounts = [ledger.account(holder.address) for holder in world.holders]
    entries = len(list(ledger.history()))
    return accounts, ledger.supply(), ledger.channels(), entries


class refused:
    """What is ordered inside is refused, and changes nothing."""

    def __init__(self, world: World, match: str | None = None):
        self._world, self._raises = world, pytest.raises(LedgerRefusal, match=match)

    def __enter__(self):
        self._before = everything(self._world)
        self._raises.__enter__()

    def __exit__(self, *error):
        result = self._raises.__exit__(*error)
        assert everything(self._world) == self._before
        return result
