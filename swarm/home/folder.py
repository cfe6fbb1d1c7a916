"""SWARM_HOME itself: where it is, whether it can be written to, and how files get there."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from swarm.errors import SwarmError
from swarm.storage.files import expanded, warn_if_writable

logger = logging.getLogger(__name__)

_REMEDY = "make room, or give this user the right to write there, or name another folder with SWARM_HOME"
_TRIAL_BYTES = 65_536  # an empty file would fit on a full disk


def swarm_home() -> Path:
    """SWARM_HOME, by default ~/.cache/swarm; for a user who has no home folder, one of the user's own among temporary
    files."""
    if named := os.environ.get("SWARM_HOME"):
        return expanded(named)
    try:
        return Path.home() / ".cache" / "swarm"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return _homeless()


@cache
def _homeless() -> Path:
    folder = Path(tempfile.gettempdir()) / f"swarm-{os.getuid()}"
    logger.warning("this user has no home folder: what is to be kept goes to %s; name another with SWARM_HOME", folder)
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():  # somebody else was here first, and could read the keys
            raise SwarmError(f"{folder} belongs to another user; name a folder of your own with SWARM_HOME")
    return folder


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """What is done within needs that file or folder. Raises SwarmError, in one line, where it cannot be used."""
    try:
        yield
    except OSError as error:
        raise SwarmError(f"{place} cannot be used: {_reason(error)}; {_REMEDY}") from error


def require_home() -> None:
    """For whoever cannot do without: raises SwarmError if SWARM_HOME cannot be written to."""
    require_folder(swarm_home())


def check_home() -> None:
    """For whoever only lists what is kept there: raises SwarmError where that is no folder. It may not be there yet."""
    home = swarm_home()
    warn_if_writable(home)
    if os.path.lexists(home) and not home.is_dir():  # a link that leads nowhere, too
        raise SwarmError(f"{home} is no folder, and holds nothing; name a folder with SWARM_HOME")


def require_folder(folder: Path) -> None:
    """Raises SwarmError if nothing can be written there. It is made if there is none."""
    with writing_to(folder):
        _try_out(folder)


def has_home() -> bool:
    """For whoever can do without: whether SWARM_HOME can be written to. The first time that it cannot, a warning says
    so."""
    return _has_home(swarm_home())


@cache
def _has_home(home: Path) -> bool:
    try:
        _try_out(home)
    except OSError as error:
        reason = _reason(error)
        logger.warning(
            "%s cannot be used (%s): what this client learns and is given is forgotten at its end", home, reason
        )
        return False
    return True


def _reason(error: OSError) -> str:
    if error.filename and os.path.islink(error.filename) and not os.path.exists(error.filename):
        return f"{error.filename} is a link that leads nowhere"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "there is a file where a folder should be"
    return error.strerror or str(error)


def _try_out(folder: Path) -> None:
    """Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    warn_if_writable(folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_TRIAL_BYTES))
        file.flush()
