"""Where compiled kernels may lie: a folder that can be written to, and that the system lets programs be loaded from."""

import os
import stat
import tempfile
from pathlib import Path


def home_folder() -> Path | None:
    """This user's; None for one who has none."""
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def private_folder(name: str) -> Path:
    """This user's own among temporary files. Raises OSError, also if it is somebody else's, who could put other
    programs there."""
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(0, f"{folder} is not this user's alone")
    return folder


def why_not(folder: Path) -> str:
    """Why compiled programs cannot be kept there and loaded; empty if they can. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.statvfs(folder).f_flag & os.ST_NOEXEC:
            return "mounted noexec"
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)
