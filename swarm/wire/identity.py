"""A peer's one key: secp256k1.

The same key is the libp2p identity (so the peer id contains the whole public key), signs the peer's directory record,
and owns an EVM-style address. One signature therefore convinces a neighbour, a stranger offline and a contract.

Formats: libp2p peer ids and key protobufs, https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md; addresses,
the Ethereum yellow paper, appendix F.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import base58
from coincurve import PrivateKey, PublicKey
from Crypto.Hash import keccak

from swarm.errors import InvalidRequest, SwarmError
from swarm.storage.files import read_regular, warn_if_shared, write_whole

SIGNATURE_BYTES = 65  # r, s and the recovery id

# libp2p key protobuf: field 1 (key type) = 2 (Secp256k1), field 2 (data), length-delimited.
_KEY_TYPE = b"\x08\x02"
_SECRET_PREFIX = _KEY_TYPE + b"\x12\x20"
_PUBLIC_PREFIX = _KEY_TYPE + b"\x12\x21"
# A public key this short is not hashed: the peer id is an identity multihash (code 0) around it.
_PEER_ID_PREFIX = b"\x00" + bytes([len(_PUBLIC_PREFIX) + 33])

ADDRESS_BYTES = 20
# Of every signature (r, s) there is a second form (r, n - s) by the same key: only the one with the smaller s counts.
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


class Identity:
    """A secp256k1 key pair that signs for one peer."""

    def __init__(self, secret: bytes | None = None):
        self._key = PrivateKey(secret)
        self.peer_id = peer_id_of(self._key.public_key.format())
        self.address = address_of(self.peer_id)

    @classmethod
    def load_or_create(cls, path: Path) -> "Identity":
        """Read the libp2p identity file at `path`, or write a new one there with mode 0600.

        Raises SwarmError if the file is not a secp256k1 identity, or cannot be read or made.
        """
        try:
            if not path.exists():
                write_whole(path, _SECRET_PREFIX + cls()._key.secret, replaces=False)  # another process may be faster
            warn_if_shared(path, "key file")
            data = read_regular(path)
        except OSError as error:
            raise SwarmError(f"the key in {path} cannot be read or made: {error.strerror or error}") from error
        if not data.startswith(_SECRET_PREFIX) or len(data) != len(_SECRET_PREFIX) + 32:
            raise SwarmError(f"{path} is not a secp256k1 identity file; move it away and a new one will be written")
        return cls(data[len(_SECRET_PREFIX) :])

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """A 65-byte recoverable signature over `message` in `domain` (what the message is for, so that a signature
        given for one purpose proves nothing in another)."""
        return self.sign_hash(_digest(domain, message))

    def sign_hash(self, hash: bytes) -> bytes:
        """A 65-byte recoverable signature over a 32-byte hash, which must name its domain itself."""
        return self._key.sign_recoverable(hash, hasher=None)


def signer_of(domain: bytes, message: bytes, signature: bytes) -> str:
    """The peer id whose key made `signature` over `message` in `domain`.

    Raises InvalidRequest if the signature is malformed; a well-formed one by somebody else gives another peer id.
    """
    return signer_of_hash(_digest(domain, message), signature)


def signer_of_hash(hash: bytes, signature: bytes) -> str:
    """The peer id whose key made `signature` over the 32 bytes of `hash`. Raises InvalidRequest like `signer_of`."""
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidRequest(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
    if int.from_bytes(signature[32:64]) > _HALF_ORDER:
        raise InvalidRequest("malformed signature: not in its canonical form (low s)")
    try:
        key = PublicKey.from_signature_and_message(signature, hash, hasher=None)
    except Exception as error:  # coincurve raises ValueError and bare Exception alike
        raise InvalidRequest(f"malformed signature: {error}") from error
    return peer_id_of(key.format())


def keccak256(data: bytes) -> bytes:
    """Keccak-256, as Ethereum has it: not SHA3-256."""
    return keccak.new(digest_bits=32 * 8, data=data).digest()


@lru_cache(4096)
def address_of(peer_id: str) -> bytes:
    """The 20-byte EVM address of the key inside `peer_id`. Raises InvalidRequest if there is no such key in it."""
    prefix = _PEER_ID_PREFIX + _PUBLIC_PREFIX
    try:
        decoded = base58.b58decode(peer_id)
        if not decoded.startswith(prefix):
            raise ValueError("not a secp256k1 peer id")
        point = PublicKey(decoded[len(prefix) :]).format(compressed=False)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{peer_id!r:.80} is not the peer id of a secp256k1 key: {error}") from error
    return keccak256(point[1:])[-ADDRESS_BYTES:]


def peer_id_of(public_key: bytes) -> str:
    """The libp2p peer id (base58, `16Uiu2...`) of a 33-byte compressed secp256k1 public key."""
    return base58.b58encode(_PEER_ID_PREFIX + _PUBLIC_PREFIX + public_key).decode()


def _digest(domain: bytes, message: bytes) -> bytes:
    return hashlib.sha256(len(domain).to_bytes(1, "little") + domain + message).digest()
