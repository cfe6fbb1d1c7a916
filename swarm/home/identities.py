"""This machine's keys: one for its user as a client, and one for each of its servers, which a lock keeps apart.

Whoever uses a key on two machines at once spends and signs twice under one name. So a key that was moved to another
machine (see swarm.home.moving) is marked here, in a file beside it, and not used again as long as the mark is there.
Beside it is its lock, too: held by the one server that uses it, or shared by all processes of a client. A key that is
moved is in use by nobody.
"""

import fcntl
import logging
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TextIO

from swarm.errors import SwarmError
from swarm.home.folder import has_home, require_home, swarm_home, writing_to
from swarm.program import option
from swarm.storage.files import read_json, warn_if_writable
from swarm.wire.identity import Identity

logger = logging.getLogger(__name__)

MAX_IDENTITIES = 64
ARRIVING = "arriving"  # in the mark of a key that is not there yet: its peer id
_MOVED = ".moved"
_TOLD = ".told"  # behind that: of a mark of which the user has been told


def client_key_file() -> Path:
    return swarm_home() / "client.key"


def key_slots() -> list[Path]:
    """Where the keys of this machine's servers are, or will be."""
    return [swarm_home() / "identities" / f"{slot}.key" for slot in range(MAX_IDENTITIES)]


def moved_file(key: Path) -> Path:
    """The mark of a key that was moved to another machine."""
    return key.with_name(key.name + _MOVED)


def client_identity() -> Identity:
    """This user's as a client; made when it is first wanted, and not to be moved away as long as anybody here has it.
    Raises SwarmError if it was moved away, or if there is none and none can be kept."""
    key = client_key_file()
    warn_if_writable(key.parent)
    refuse_moved(key)
    if not key.exists():
        require_home()
    lock = _share(key)
    refuse_moved(key)  # a moment ago
    identity = Identity.load_or_create(key)
    if lock:
        weakref.finalize(identity, lock.close)
    return identity


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
    warn_if_writable(swarm_home())
    for slot in [path] if path else key_slots():
        if path:
            refuse_moved(slot)
            if slot.exists():
                Identity.load_or_create(slot)  # what is no key gets no lock beside it
        elif why := _moved(slot):
            level = logging.INFO if _was_told(slot) else logging.WARNING
            logger.log(level, "this server takes the next key: %s", why)
            continue
        with held_key(slot) as is_free:
            if is_free:
                yield Identity.load_or_create(slot), slot
                return
    what = f"identity {path} is" if path else f"all {MAX_IDENTITIES} identities in {swarm_home()} are"
    raise SwarmError(f"{what} in use by other processes; choose another with {option('identity')}")


@contextmanager
def held_key(key: Path) -> Iterator[bool]:
    """Whether no other process uses the key; if so, none will within. Raises SwarmError if there is no place for
    keys."""
    with writing_to(key.parent):
        key.parent.mkdir(parents=True, exist_ok=True)
        warn_if_writable(key.parent)
        lock = open(key.with_suffix(".lock"), "w")  # noqa: SIM115 - below
    with lock:
        is_free = _lock(lock)
        try:
            yield is_free
        finally:
            if is_free:  # in so many words: a forked child may still have the file open
                fcntl.flock(lock, fcntl.LOCK_UN)


def refuse_moved(key: Path) -> None:
    """Raises SwarmError if the key was moved to another machine, or has not quite come from there."""
    if why := _moved(key):
        raise SwarmError(why)


def _moved(key: Path) -> str:
    """Why it is not to be used; empty: it may."""
    mark = moved_file(key)
    if arriving(key) and not key.exists():
        return f"the import of a key to {key} was cut short; import it again, or remove {mark} to do without"
    if not mark.exists():
        return ""
    if not key.exists():  # its owner has put it elsewhere since: the mark is not the next one's
        with suppress(OSError):
            mark.unlink()
        return ""
    return (
        f"the key in {key} was moved to another machine; use it there. For another one here, move that file away; if "
        f"it is certain that it is used nowhere else, remove {mark}"
    )


def _was_told(key: Path) -> bool:
    """Whether this was asked before about the key's present mark: its owner is told once, and not at each start."""
    mark = moved_file(key)
    told = mark.with_name(mark.name + _TOLD)
    with suppress(OSError):
        if told.exists() and told.stat().st_mtime_ns >= mark.stat().st_mtime_ns:
            return True
        told.touch()
    return False


def arriving(key: Path) -> str:
    """Peer id of the key whose import to this file goes on, or was cut short; empty if none."""
    try:
        found = read_json(moved_file(key)).get(ARRIVING, "")
    except (OSError, ValueError, AttributeError):
        return ""
    return found if isinstance(found, str) else ""


def _share(key: Path) -> TextIO | None:
    """Its lock, together with other processes, until it is closed; None where nothing can be written, and so nothing
    moved."""
    try:
        lock = open(key.with_suffix(".lock"), "a")  # noqa: SIM115 - for as long as the key is used
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SwarmError(f"the key in {key} is being moved; try again when that is done") from error
    except OSError:  # a disk that knows no locks
        pass
    return lock


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
