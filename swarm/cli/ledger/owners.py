"""Whose credits they are: those of this user, or of a server on this machine, which has a key of its own."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from swarm.errors import LedgerRefusal, SwarmError
from swarm.home.identities import moved_file
from swarm.home.named import kept_keys
from swarm.market.ledger.ledger import Ledger
from swarm.wire.formats.amounts import format_amount
from swarm.wire.identity import address_of

_MOST_NAMED = 3


@contextmanager
def pointing_out(ledger: Ledger, bucket: str) -> Iterator[None]:
    """Where the ledger refuses what is to be done with the credits in a bucket of the account, says which keys of this
    machine have some there."""
    try:
        yield
    except LedgerRefusal as error:
        if not (others := _others(ledger, bucket)):
            raise
        raise LedgerRefusal(f"{error}; {', '.join(others)}") from error


def _others(ledger: Ledger, bucket: str) -> list[str]:
    found = []
    with suppress(SwarmError):  # what was refused is told all the same
        for peer_id, key in kept_keys().items():
            address = address_of(peer_id)
            if address == ledger.address or moved_file(key).exists():
                continue
            if amount := getattr(ledger.account(address), bucket):
                whose = f"the key in {key} has {format_amount(amount)} {bucket}"
                found.append(f"{whose}: add --identity {shlex.quote(str(key))}")
    return found[:_MOST_NAMED]
