"""Typed data as wallets and contracts hash it, so that one signature convinces a peer, a stranger and a chain.

EIP-712, https://eips.ethereum.org/EIPS/eip-712, for structures of atomic members, strings and bytes. What is signed
here is not bound to one chain or contract, so the domain has only a name and a version.
"""

from collections.abc import Sequence

from swarm.wire.identity import keccak256

_WORD = 32
_DOMAIN_TYPE = b"EIP712Domain(string name,string version)"
DOMAIN = keccak256(keccak256(_DOMAIN_TYPE) + keccak256(b"swarm-inference") + keccak256(b"1"))


class Struct:
    """A type of structure: its name, and the type and name of every member."""

    def __init__(self, name: str, *members: tuple[str, str]):
        """members: (type, name), where a type is uintN, address, bytesN, bytes or string."""
        self.signature = f"{name}({','.join(f'{kind} {member}' for kind, member in members)})"
        self.type_hash = keccak256(self.signature.encode())
        self.members = [member for _, member in members]
        self._kinds = [kind for kind, _ in members]

    def hash(self, values: Sequence[int | bytes | str]) -> bytes:
        """The 32 bytes that are signed. values: of the members in order; an address is 20 bytes."""
        return self.hash_words(self.words(values))

    def words(self, values: Sequence[int | bytes | str]) -> bytes:
        """What a contract needs to compute the hash itself: 32 bytes for each member, strings hashed already."""
        return b"".join(_word(kind, value) for kind, value in zip(self._kinds, values, strict=True))

    def hash_words(self, words: bytes) -> bytes:
        """The 32 bytes that are signed. words: as `words` gives them."""
        return keccak256(b"\x19\x01" + DOMAIN + keccak256(self.type_hash + words))


def _word(kind: str, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(_WORD)
    if isinstance(value, str):
        return keccak256(value.encode())
    if kind == "bytes":
        return keccak256(value)
    # A number of bytes fills a word from the left, an address, which is a number, from the right.
    return value.rjust(_WORD, b"\0") if kind == "address" else value.ljust(_WORD, b"\0")
