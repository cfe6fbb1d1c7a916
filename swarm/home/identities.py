"""This machine's keys: one for its user as a client, and one for each of its servers, which a lock keeps apart.

Whoever uses a key on two machines at once spends and signs twice under one name. So a key that was moved to another
machine (see swarm.home.moving) is marked here, in a file beside it, and not used again as long as the mark is there.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

from swarm.errors import SwarmError
from swarm.home.folder import has_home, require_home, swarm_home, writing_to
from swarm.wire.identity import Identity

logger = logging.getLogger(__name__)

MAX_IDENTITIES = 64
_MOVED = ".moved"


def client_key_file() -> Path:
    return swarm_home() / "client.key"


def key_slots() -> list[Path]:
    """Where the keys of this machine's servers are, or will be."""
    return [swarm_home() / "identities" / f"{slot}.key" for slot in range(MAX_IDENTITIES)]


def moved_file(key: Path) -> Path:
    """The mark of a key that was moved to another machine."""
    return key.with_name(key.name + _MOVED)


def client_identity() -> Identity:
    """This user's as a client; made when it is first wanted. Raises SwarmError if it was moved away, or if there is
    none and none can be kept."""
    refuse_moved(client_key_file())
    if not client_key_file().exists():
        require_home()
    return Identity.load_or_create(client_key_file())


def passing_identity() -> Identity:
    """The same for a client that can do without: where no key can be kept, one that ends with this process."""
    key = client_key_file()
    return client_identity() if has_home() or os.access(key, os.R_OK) else _unkept(key)


@cache
def _unkept(key: Path) -> Identity:
    return Identity()


@contextmanager
def claimed_identity(path: Path | None = None) -> Iterator[tuple[Identity, Path]]:
    """This process's identity and its file: `path`, or the first under SWARM_HOME that no other process uses.

    A restarted server so keeps its peer id, and two on one machine have different ones. Raises SwarmError if `path`
    is in use by a running process or was moved to another machine, or if there is no place for keys.
    """
    for slot in [path] if path else key_slots():
        if path:
            refuse_moved(slot)
        elif moved_file(slot).exists():
            logger.warning("the key in %s was moved to another machine: this server takes the next", slot)
            continue
        with held_key(slot) as is_free:
            if is_free:
                yield Identity.load_or_create(slot), slot
                return
    what = f"identity {path} is" if path else f"all {MAX_IDENTITIES} identities in {swarm_home()} are"
    raise SwarmError(f"{what} in use by other processes; choose another with --identity")


@contextmanager
def held_key(key: Path) -> Iterator[bool]:
    """Whether no other process uses the key; if so, none will within. Raises SwarmError if there is no place for
    keys."""
    with writing_to(key.parent):
        key.parent.mkdir(parents=True, exist_ok=True)
        lock = open(key.with_suffix(".lock"), "w")  # noqa: SIM115 - below
    with lock:
        is_free = _lock(lock)
        try:
            yield is_free
        finally:
            if is_free:  # in so many words: a forked child may still have the file open
                fcntl.flock(lock, fcntl.LOCK_UN)


def refuse_moved(key: Path) -> None:
    """Raises SwarmError if the key was moved to another machine."""
    if (mark := moved_file(key)).exists():
        raise SwarmError(
            f"the key in {key} was moved to another machine; use it there, and another one here; if it is certain that "
            f"it is used nowhere else, remove {mark}"
        )


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
