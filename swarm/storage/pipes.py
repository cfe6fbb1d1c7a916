"""Files that somebody names on a command line, which may be pipes: a secret from a password manager, `<(a command)`.

Whoever waits for a pipe's other end says so after a moment: a command that was given a wrong name would just hang.
"""

import io
import logging
import os
import select
import stat
import time
from pathlib import Path
from typing import Any

from swarm.errors import UnusableFile
from swarm.storage.files import without_waiting

logger = logging.getLogger(__name__)

SILENT_S = 2.0  # that a pipe is waited for without a word


def open_named(file: Path, most_bytes: int | None = None) -> io.BufferedReader:
    """To be read, also where it is a pipe. most_bytes: of a regular file, whose size is looked at before anything is
    read. Raises UnusableFile for a larger one; OSError."""
    descriptor = without_waiting(str(file), os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISFIFO(found.st_mode):
            return io.BufferedReader(_Pipe(descriptor, file))
        if stat.S_ISREG(found.st_mode) and most_bytes is not None and found.st_size > most_bytes:
            raise UnusableFile(f"{file} is larger than {most_bytes >> 20:,} MiB")
        os.set_blocking(descriptor, True)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


class _Pipe(io.RawIOBase):
    """One that was opened without waiting for a writer."""

    def __init__(self, descriptor: int, file: Path):
        self._descriptor, self._file = descriptor, file
        self._tell_s: float | None = time.monotonic() + SILENT_S  # None: it is told
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Any) -> int:
        while True:
            self._wait()
            try:  # the end is where a writer was, and has gone
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:  # another reader of the same pipe was faster
                continue

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)

    def _wait(self) -> None:
        """Until there is something to read, or the end."""
        while not self._poll.poll(None if self._tell_s is None else max(self._tell_s - time.monotonic(), 0) * 1000):
            self._tell_s = None
            logger.warning("reading %s, which is a pipe: waiting for whoever writes to it", self._file)
