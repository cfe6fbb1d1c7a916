"""Small files that are whole or not there, also on a full disk and after a crash."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, data: bytes, mode: int = 0o600, is_durable: bool = True) -> None:
    """Put `data` in the place of what is in `file`, or leave that as it is. The folder is made. Raises OSError.

    is_durable: it is on disk when this returns, and not only out of this process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fchmod(descriptor, mode)
            if is_durable:
                os.fsync(descriptor)
        os.replace(part, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
