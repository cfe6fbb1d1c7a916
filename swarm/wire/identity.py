"""A peer's one key: secp256k1.

The same key is the libp2p identity (so the peer id contains the whole public key), signs the peer's directory record,
and owns an EVM-style address. One signature therefore convinces a neighbour, a stranger offline and a contract.

Formats: libp2p peer ids and key protobufs, https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
"""

import hashlib
import os
from pathlib import Path

import base58
from coincurve import PrivateKey, PublicKey

from swarm.errors import InvalidRequest, SwarmError

SIGNATURE_BYTES = 65  # r, s and the recovery id

# libp2p key protobuf: field 1 (key type) = 2 (Secp256k1), field 2 (data), length-delimited.
_KEY_TYPE = b"\x08\x02"
_SECRET_PREFIX = _KEY_TYPE + b"\x12\x20"
_PUBLIC_PREFIX = _KEY_TYPE + b"\x12\x21"
# A public key this short is not hashed: the peer id is an identity multihash (code 0) around it.
_PEER_ID_PREFIX = b"\x00" + bytes([len(_PUBLIC_PREFIX) + 33])


class Identity:
    """A secp256k1 key pair that signs for one peer."""

    def __init__(self, secret: bytes | None = None):
        self._key = PrivateKey(secret)
        self.peer_id = peer_id_of(self._key.public_key.format())

    @classmethod
    def load_or_create(cls, path: Path) -> "Identity":
        """Read the libp2p identity file at `path`, or write a new one there with mode 0600.

        Raises SwarmError if the file is not a secp256k1 identity.
        """
        if not path.exists():
            identity = cls()
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_SECRET_PREFIX + identity._key.secret)
            return identity
        data = path.read_bytes()
        if not data.startswith(_SECRET_PREFIX) or len(data) != len(_SECRET_PREFIX) + 32:
            raise SwarmError(f"{path} is not a secp256k1 identity file; move it away and a new one will be written")
        return cls(data[len(_SECRET_PREFIX) :])

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """A 65-byte recoverable signature over `message` in `domain` (what the message is for, so that a signature
        given for one purpose proves nothing in another)."""
        return self._key.sign_recoverable(_digest(domain, message), hasher=None)


def signer_of(domain: bytes, message: bytes, signature: bytes) -> str:
    """The peer id whose key made `signature` over `message` in `domain`.

    Raises InvalidRequest if the signature is malformed; a well-formed one by somebody else gives another peer id.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidRequest(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
    try:
        key = PublicKey.from_signature_and_message(signature, _digest(domain, message), hasher=None)
    except Exception as error:  # coincurve raises ValueError and bare Exception alike
        raise InvalidRequest(f"malformed signature: {error}") from error
    return peer_id_of(key.format())


def peer_id_of(public_key: bytes) -> str:
    """The libp2p peer id (base58, `16Uiu2...`) of a 33-byte compressed secp256k1 public key."""
    return base58.b58encode(_PEER_ID_PREFIX + _PUBLIC_PREFIX + public_key).decode()


def _digest(domain: bytes, message: bytes) -> bytes:
    return hashlib.sha256(len(domain).to_bytes(1, "little") + domain + message).digest()
