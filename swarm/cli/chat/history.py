"""What was typed in chats before: a file that only its user may read."""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

from swarm.errors import UnusableFile
from swarm.storage.files import check_regular, without_waiting, write_whole

logger = logging.getLogger(__name__)

_MOST_BYTES = 2**20
_READ_BYTES = 2**24  # of a larger file, its end
_KEPT = 1000  # messages


class FileHistory(History):
    """One line of JSON a message. Chats that run at once write to the same file. A file that cannot be used is none."""

    def __init__(self, file: Path):
        super().__init__()
        self._file, self._works = file, True

    def load_history_strings(self) -> Iterable[str]:
        """The latest first."""
        lines: list[bytes] = []
        with suppress(OSError, UnusableFile):
            lines = self._read().splitlines()
            if sum(map(len, lines)) > _MOST_BYTES:
                write_whole(self._file, b"".join(line + b"\n" for line in lines[-_KEPT:]), is_durable=False)
        for line in reversed(lines[-_KEPT:]):
            with suppress(ValueError, RecursionError):
                if isinstance(text := json.loads(line), str):
                    yield text

    def store_string(self, string: str) -> None:
        if not self._works:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # a pipe would wait for a reader
            descriptor = os.open(self._file, flags, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                check_regular(descriptor, self._file)
                os.fchmod(descriptor, 0o600)
                opened.write(json.dumps(string).encode() + b"\n")
        except OSError as error:
            self._works = False
            logger.warning("what is typed is not kept: %s cannot be used: %s", self._file, error.strerror)
        except UnusableFile as error:
            self._works = False
            logger.warning("what is typed is not kept: %s", error)

    def _read(self) -> bytes:
        """Raises OSError, UnusableFile."""
        with open(self._file, "rb", opener=without_waiting) as opened:
            check_regular(opened.fileno(), self._file)
            opened.seek(max(opened.seek(0, os.SEEK_END) - _READ_BYTES, 0))
            return opened.read(_READ_BYTES)
