"""Temporary folders with keys in them, of LocalSwarms and of nodes: gone with them, at the latest when the next one
starts.

Whoever made one holds a file in it locked, and the kernel lets go of that with the process, however it ends.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from swarm.forks import Owner, keep_here, let_go

OF_SWARM, OF_NODE = "swarm-local-", "swarm-node-"  # how their names begin
_LOCK = "lock"  # in the folder
_UNLOCKED_S = {OF_SWARM: 60.0, OF_NODE: 86_400.0}  # without a lock: younger, nobody's, or an older version's node's
_TRIES, _PAUSE_S = 20, 0.05


class Folder:
    """A new one, this user's alone."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._owner, self._is_removed = Owner(), False
        # Locked before it has the name by which others look for it.
        scratch = self.path / f"{_LOCK}.tmp"
        self._lock = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        keep_here(self._lock)
        with suppress(OSError):  # a disk that knows no locks: nor does anybody get one, to remove it
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        scratch.rename(self.path / _LOCK)

    def remove(self) -> None:
        """With all that is in it. May be called again."""
        if self._is_removed or not self._owner.is_here:
            return
        self._is_removed = True
        _remove_tree(self.path)
        let_go(self._lock)
        os.close(self._lock)


def remove_leftovers() -> None:
    """Those of this user's processes that were killed."""
    for prefix in (OF_SWARM, OF_NODE):
        for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            with suppress(OSError):  # gone meanwhile
                if _is_own(path):
                    _remove_unlocked(path, _UNLOCKED_S[prefix])


def _is_own(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _remove_unlocked(path: Path, age_s: float) -> None:
    """age_s: from which on one without a lock goes. Raises OSError if its process lives, or another one removes it."""
    if not (path / _LOCK).exists():  # it was killed between two lines, when the folder was new or half removed
        if time.time() - path.lstat().st_mtime > age_s:
            _remove_tree(path)
        return
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    keep_here(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_tree(path)
    finally:
        let_go(lock)
        os.close(lock)


def _remove_tree(path: Path) -> None:
    """Tried again for a moment: a libp2p daemon ends a little later than its server, and may write until then."""
    for _ in range(_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(_PAUSE_S)
