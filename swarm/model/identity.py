"""What a model's weights are known by: a digest of each block, and one of any range of them.

A revision tells by a few sampled bytes whether two sides mean the same files, so that they do not mix them up by
mistake. These digests cover every byte of a block, so that nobody can pass off other weights for them.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from swarm.errors import InvalidRequest
from swarm.model.weights import Checkpoint
from swarm.wire.formats.merkle import merkle_root

_DOMAIN = b"swarm/block/v1"
_FORM = re.compile(
    r"(?P<model>.{1,200})@(?P<digest>[0-9a-f]{64})/(?P<index>\d{1,5})/(?P<format>\w{1,20}/\w{1,20})", re.ASCII
)


def block_digest(checkpoint: Checkpoint, index: int) -> bytes:
    """32 bytes: SHA-256 over the model's config, the block's index, and of each of its tensors the name, the shape, the
    type and the bytes, all as the file holds them. So the same model in another file format has other digests.

    Streams the file: a few MiB of memory, at the speed of SHA-256. Raises ModelError.
    """
    files, digest = list(checkpoint.block_files(index)), hashlib.sha256()

    def absorb(text: bytes) -> None:
        digest.update(len(text).to_bytes(8, "little") + text)

    absorb(_DOMAIN)
    absorb(checkpoint.config.canonical())
    digest.update(index.to_bytes(8, "little"))
    for name, file in files:
        entry = file.entry(name)
        absorb(json.dumps([name, entry.shape, entry.kind, entry.nbytes]).encode())
        for piece in file.raw(entry):
            digest.update(piece)
    return digest.digest()


def weights_root(digests: Iterable[bytes]) -> bytes:
    """One digest, 32 bytes, of consecutive blocks' digests: their Merkle root."""
    return merkle_root(digests)


@dataclass(frozen=True)
class BlockId:
    """Which weights a block has, and how they are computed with, in one line: model@digest/block/format."""

    model: str  # its name in the directory
    digest: bytes  # of `block_digest`
    index: int
    format: str  # of the weights in memory and of activations: "int4/bfloat16"

    def __str__(self) -> str:
        return f"{self.model}@{self.digest.hex()}/{self.index}/{self.format}"

    @classmethod
    def parse(cls, text: str) -> "BlockId":
        """Raises InvalidRequest."""
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise InvalidRequest(f"{text!r:.100} names no block; the form is MODEL@DIGEST/BLOCK/QUANT/DTYPE")
        return cls(form["model"], bytes.fromhex(form["digest"]), int(form["index"]), form["format"])
