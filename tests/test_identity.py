"""What a model's weights are known by: digests of blocks, and who is believed to serve which."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from swarm.wire.merkle import merkle_root


def root_by_the_book(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = root_by_the_book(leaves[:split]), root_by_the_book(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_a_merkle_root_is_that_of_the_rfc(leaves):
    assert merkle_root(leaves) == root_by_the_book(leaves)
