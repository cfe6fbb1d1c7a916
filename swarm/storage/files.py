"""Small files that are whole or not there, also on a full disk and after a crash."""

import errno
import json
import logging
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from swarm import shown
from swarm.errors import UnusableFile

logger = logging.getLogger(__name__)

_MOST_BYTES = 2**20
_KNOWS_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # disks of some kinds, and folders that one may only enter


def write_whole(file: Path, data: bytes, mode: int = 0o600, is_durable: bool = True, replaces: bool = True) -> None:
    """Put `data` in the place of what is in `file`, or leave that as it is. The folder is made. Raises OSError, which
    names `file`.

    is_durable: it is on disk when this returns, under its name, and not only out of this process. replaces: else what
    is there, even since a moment ago, stays.
    """
    with replacing(file, mode, is_durable, replaces) as opened:
        opened.write(data)


@contextmanager
def replacing(
    file: Path, mode: int | None = 0o600, is_durable: bool = True, replaces: bool = True
) -> Iterator[BinaryIO]:
    """The same, of what is written within; of an error within, nothing. mode: None: what the user's files have."""
    with naming(file):
        new = [folder for folder in file.parents if not folder.exists()]
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = _make_part(file, 0o666 if mode is None else 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                yield opened
                opened.flush()
                if mode is not None:
                    os.fchmod(descriptor, mode)
                if is_durable:
                    os.fsync(descriptor)
            os.replace(part, file) if replaces else _name(part, file)
            if is_durable:
                for folder in [file.parent, *(folder.parent for folder in new)]:
                    sync_names(folder)
        finally:
            with suppress(OSError):
                os.unlink(part)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """An OSError within is this file's: what fails while it is written or read names none, or one that nobody knows."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(file), None
        raise


def read_json(file: Path) -> Any:
    """What is in a small file that anybody may have written into. Raises OSError, ValueError."""
    with naming(file), open(file, "rb", opener=without_waiting) as opened:
        return parse_json(opened.read(_MOST_BYTES))


def read_regular(file: Path, most_bytes: int = _MOST_BYTES) -> bytes:
    """What is in a file that somebody named. Raises UnusableFile for what is none, such as a pipe that would be waited
    for or a device without an end, and for a larger one; OSError."""
    with naming(file), open(file, "rb", opener=without_waiting) as opened:
        check_regular(opened.fileno(), file)
        data = opened.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnusableFile(f"{file} is larger than {most_bytes >> 20} MiB")
    return data


def check_regular(descriptor: int, file: Path) -> None:
    """Raises UnusableFile for what is no regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise UnusableFile(f"{file} is no regular file")


def expanded(path: str | os.PathLike[str]) -> Path:
    """As a shell has it: with the home folder in the place of ~. Raises UnusableFile for what names no file."""
    written = os.fspath(path)
    try:
        if b"\0" in os.fsencode(written):
            raise UnusableFile(f"{shown.text(written)} is no path: it has a NUL byte in it")
        return Path(written).expanduser()
    except UnicodeEncodeError as error:
        raise UnusableFile(f"{shown.text(written)} is no path: it is no text") from error
    except RuntimeError as error:  # nobody of that name, or without a home folder
        raise UnusableFile(f"{shown.text(written)}: there is no such home folder; write the path in full") from error


def parse_json(data: str | bytes) -> Any:
    """Raises ValueError."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def without_waiting(path: str, flags: int) -> int:
    """How to open what may be no file: a pipe would wait for a writer. Raises OSError."""
    return os.open(path, flags | os.O_NONBLOCK)


def warn_if_shared(file: Path, what: str) -> None:
    """One line, once, where others than their owner may read a secret of this user's. As of ssh, what belongs to
    somebody else (root, in a container) is theirs to protect, and so is what is no file: a pipe, a terminal.

    what: it is, as in "secret file".
    """
    if os.name != "posix":  # no modes
        return
    with suppress(OSError):
        found = file.stat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
            told = f"{file} is open to others than its owner; close it with: chmod 600 {shlex.quote(str(file))}"
            _warn_once(f"the {what} {told}")


def warn_if_writable(folder: Path) -> None:
    """One line, once, where others could put files of theirs in the place of this user's. As above, what belongs to
    somebody else is theirs to protect; in a folder such as /tmp, nobody replaces others' files."""
    if os.name != "posix":
        return
    with suppress(OSError):
        found = folder.stat()
        is_open = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and is_open:
            _warn_once(
                f"others than its owner may write in {folder}, and so replace the keys and settings there; close it "
                f"with: chmod go-w {shlex.quote(str(folder))}"
            )


@cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def sync_names(folder: Path) -> None:
    """What is in `folder` has its name on disk when this returns: else a power cut may take a file back that is on disk
    itself. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _KNOWS_NO_SYNC:
            raise


def _make_part(file: Path, mode: int) -> tuple[int, str]:
    """Descriptor and name of a new file beside it. mode: less what this user's files have not. Raises OSError."""
    while True:
        part = os.path.join(file.parent, f".{file.name}.{secrets.token_hex(4)}")
        with suppress(FileExistsError):
            return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), part


def _name(scratch: str, file: Path) -> None:
    """Give the file its name, unless that is taken."""
    try:
        os.link(scratch, file)
    except FileExistsError:
        pass
    except OSError:  # a disk that knows no second names
        if not file.exists():
            os.rename(scratch, file)
