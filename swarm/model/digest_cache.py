"""Digests of blocks, kept on disk: a restart need not read the whole model for them.

A digest is kept for the files that it was taken of: their path, size, time of last change and inode. What changes a
file without changing any of these goes unnoticed here; whoever can do that can change the cache as well.
"""

import hashlib
import json
import logging
import re
from pathlib import Path

from swarm.model.identity import block_digest
from swarm.model.weights import Checkpoint
from swarm.storage.files import write_whole

logger = logging.getLogger(__name__)

_HEX = re.compile(r"[0-9a-f]{64}")


class DigestCache:
    """One small file per block in a folder that several processes may share."""

    def __init__(self, folder: Path):
        self._folder = folder

    def digest(self, checkpoint: Checkpoint, index: int) -> bytes:
        """`block_digest`, from the cache if it is there. Raises ModelError. A cache that cannot be written is none."""
        key = self._key(checkpoint, index)
        file = self._folder / key
        if (known := _read(file)) is not None:
            return known
        digest = block_digest(checkpoint, index)
        if self._key(checkpoint, index) == key:  # else somebody wrote to the model's files meanwhile
            _write(file, digest)
        return digest

    def digests(self, checkpoint: Checkpoint, start: int, stop: int) -> list[bytes]:
        """Those of blocks start to stop - 1. Raises ModelError."""
        return [self.digest(checkpoint, index) for index in range(start, stop)]

    def _key(self, checkpoint: Checkpoint, index: int) -> str:
        stamps = [[name, file.stamp] for name, file in checkpoint.block_files(index)]
        text = json.dumps([checkpoint.config.canonical().decode(), index, stamps])
        return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path) -> bytes | None:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return bytes.fromhex(text) if _HEX.fullmatch(text) else None


def _write(file: Path, digest: bytes) -> None:
    try:
        write_whole(file, digest.hex().encode(), 0o644, is_durable=False)  # what is no digest counts as none
    except OSError as error:
        logger.info("the digest of a block is not kept: %s", error)
