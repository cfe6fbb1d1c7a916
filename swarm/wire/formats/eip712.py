"""Typed data as wallets and contracts hash it, so that one signature convinces a peer, a stranger and a chain.

EIP-712, https://eips.ethereum.org/EIPS/eip-712, for structures of atomic members, strings and bytes. What is signed
here is not bound to one chain or contract, so the domain has only a name and a version.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from swarm.wire.identity import keccak256

Value = int | bytes | str
_DOMAIN_TYPE = b"EIP712Domain(string name,string version)"
DOMAIN = keccak256(keccak256(_DOMAIN_TYPE) + keccak256(b"swarm-inference") + keccak256(b"1"))
# How a value of each type fills a word of 32 bytes: a number of bytes from the left, and numbers, of which an address
# is one, from the right; of strings and bytes, their hash. Numbers below 2^64 are all that is signed here.
_WORDS = {
    "uint8": "31xB", "uint32": "28xI", "uint64": "24xQ", "uint256": "24xQ", "address": "12x20s", "bytes16": "16s16x",
    "bytes32": "32s", "string": "32s", "bytes": "32s",
}  # fmt: skip
VARIABLE = ("string", "bytes")


class Member(NamedTuple):
    """type: of _WORDS."""

    type: str
    name: str


class Struct:
    """A type of structure: its name, and the type and name of every member."""

    def __init__(self, name: str, *members: tuple[str, str]):
        """members: (type, name)."""
        self.signature = f"{name}({','.join(f'{type_} {member}' for type_, member in members)})"
        self.type_hash = keccak256(self.signature.encode())
        self.members = [Member(*member) for member in members]
        self._words = struct.Struct(">" + "".join(_WORDS[type_] for type_, _ in members))
        self._variable = [place for place, (type_, _) in enumerate(members) if type_ in VARIABLE]

    def hash(self, values: Sequence[Value]) -> bytes:
        """The 32 bytes that are signed. values: of the members in order; an address is 20 bytes."""
        return self.hash_words(self.words(values))

    def words(self, values: Sequence[Value]) -> bytes:
        """What a contract needs to compute the hash itself: 32 bytes for each member, strings hashed already."""
        if not self._variable:
            return self._words.pack(*values)
        hashed = list(values)
        for place in self._variable:
            hashed[place] = _hash_of(values[place])
        return self._words.pack(*hashed)

    def hash_words(self, words: bytes) -> bytes:
        """The 32 bytes that are signed. words: as `words` gives them."""
        return keccak256(b"\x19\x01" + DOMAIN + keccak256(self.type_hash + words))


def _hash_of(value: Value) -> bytes:
    return _hash_of_text(value) if isinstance(value, str) else keccak256(bytes(value))


@lru_cache(1024)
def _hash_of_text(text: str) -> bytes:
    """Most are names of formats, the same in receipt after receipt."""
    return keccak256(text.encode())
