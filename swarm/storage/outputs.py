"""Files that a user named for what a command has to say: they are whole, or what they were before."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from swarm.storage.files import naming, replacing

_STREAMS = Path("/dev"), Path("/proc")  # what has a name there, as /dev/stdout, may be a file that others write to, too


def write_output(file: Path | str, text: str) -> None:
    """See `output`."""
    with output(file) as opened:
        opened.write(text.encode())


@contextmanager
def output(file: Path | str) -> Iterator[BinaryIO]:
    """What is written within is in the file afterwards; of an error, what was there before is. A pipe, a device or a
    link stays what it is. Raises OSError, which names the file."""
    named = Path(file)
    with naming(named):
        before = _found(named)
        if _is_replaced(named, before):
            with replacing(Path(os.path.realpath(named)), mode=before and stat.S_IMODE(before.st_mode)) as opened:
                if before:
                    with suppress(PermissionError):  # only the superuser writes what stays another's
                        os.fchown(opened.fileno(), before.st_uid, before.st_gid)
                yield opened
        else:
            with open(named, "ab" if _is_stream(named) else "wb") as opened:
                yield opened


def _found(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _is_replaced(file: Path, before: os.stat_result | None) -> bool:
    """Whether another file can be put in its place, as one can of the user's own in a folder of the user's own."""
    if _is_stream(file):
        return False
    if before and not (stat.S_ISREG(before.st_mode) and os.access(file, os.W_OK)):
        return False  # a file that one may not write to is not replaced, either
    return os.access(os.path.dirname(os.path.realpath(file)), os.W_OK | os.X_OK)


def _is_stream(file: Path) -> bool:
    return any(file.absolute().is_relative_to(folder) for folder in _STREAMS)
