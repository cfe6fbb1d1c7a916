"""Copies of an embedded ledger, made while it is in use, each of which is a whole ledger again."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from swarm.errors import SwarmError
from swarm.market.ledger.sqlite import connect_to_read, keeper_file
from swarm.storage.files import write_whole


def copy_ledger(source: Path, target: Path, replace: bool = False) -> None:
    """Copy the ledger in a file as it is now, and its keeper's key with it: whoever has the copy can go on with the
    ledger, so keep it as safe as that. replace: an earlier copy. Raises SwarmError if it cannot be done."""
    if target.exists() and not replace:
        raise SwarmError(f"{target} exists; name another file, or move it away")
    if not keeper_file(source).exists():
        raise SwarmError(f"{keeper_file(source)}, the key of the ledger's keeper, is not there")
    try:
        _copy_book(source, target)
        write_whole(keeper_file(target), keeper_file(source).read_bytes())
    except (sqlite3.Error, OSError) as error:
        raise SwarmError(f"the ledger in {source} cannot be copied to {target}: {error}") from error


def _copy_book(source: Path, target: Path) -> None:
    """Through SQLite's backup interface, which waits for no writer and sees no half of a transaction."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    with (
        closing(connect_to_read(source)) as book,
        closing(sqlite3.connect(part)) as copy,
    ):
        book.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
    os.replace(part, target)
