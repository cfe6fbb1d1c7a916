"""Merkle trees: one digest of many values, of which each can later be shown to be one (RFC 6962, section 2.1)."""

import hashlib
from collections.abc import Iterable

DIGEST_BYTES = 32


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """The tree's head, 32 bytes: SHA-256, leaves and inner nodes told apart by their first byte. The values may be of
    any length; of none, it is the digest of nothing."""
    level = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        # One without a partner moves up as it is: which gives the RFC's tree, split at the largest power of two.
        pairs = zip(level[::2], level[1::2], strict=False)
        joined = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = joined + level[len(level) & ~1 :]
    return level[0]
