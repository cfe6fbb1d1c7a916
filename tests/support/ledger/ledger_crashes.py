"""A ledger whose process dies at any of its writes: from then on nothing reaches the file, no ROLLBACK either."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from ledgers import KEYS, MovableClock, World, seen_by
from swarm.market.ledger.ledger import Rules
from swarm.market.ledger.sqlite import SqliteLedger


class Died(BaseException):
    pass


class FragileConnection(sqlite3.Connection):
    """Counts statements, and dies before one of them."""

    left: int | None = None  # statements until it dies; None: it lives

    def execute(self, *args):
        if self.left == 0:
            raise Died
        if self.left is not None:
            self.left -= 1
        return super().execute(*args)


class FragileWorld(World):
    """All holders in one process, which can be made to die and comes back."""

    def __init__(self, file: Path, rules: Rules):
        self.file, self._rules, self._clock = file, rules, MovableClock()
        self.advance = self._clock.advance
        self.restart()

    def restart(self) -> None:
        connections, connect = [], sqlite3.connect

        def fragile(*args, **options) -> FragileConnection:
            connections.append(connect(*args, factory=FragileConnection, **options))
            return connections[-1]

        with patch("sqlite3.connect", fragile):
            ledger = SqliteLedger(self.file, KEYS["issuer"], self._rules, clock=self._clock)
        self.issuer, self.alice, self.bob, self.carol = (seen_by(ledger, key) for key in KEYS.values())
        self.connection = connections[0]  # to the file; what its layout is compared with is in memory

    def shut(self) -> None:
        self.connection.left = None
        self.connection.close()

    def mortal(self, statement: int, action: Callable[[], object]) -> object:
        """What `action` returns. Raises Died, once the process is started anew, if it has so many statements: it dies
        before this one, from 0."""
        self.connection.left = statement
        try:
            return action()
        except Died:
            self.shut()
            self.restart()
            raise
        finally:
            self.connection.left = None
