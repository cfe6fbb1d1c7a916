"""Announcements that a peer has cheated, which everyone can check before believing them.

The directory holds them under a key per model, each under the names of the accused and of the announcer, signed by the
latter and short-lived: who still stands by it repeats it. A node of the directory checks the form and the signature
only, also one that itself verifies nothing; what it stores for others is opaque to it. Whether the proof holds is for
whoever reads it to find out (see swarm.verify.fraud.inbox).
"""

import re
from dataclasses import dataclass

import msgpack
from google.protobuf.message import DecodeError

from swarm import clock
from swarm.errors import InvalidRequest
from swarm.peers.record import check_times
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.merkle import DIGEST_BYTES
from swarm.wire.hosts import join_address
from swarm.wire.identity import Identity, signer_of
from swarm.wire.tls import MAX_CERTIFICATE_BYTES

VERSION = 1
KINDS = ("equivocation", "contradiction", "audit")  # see swarm/verify/fraud/proofs.py
MAX_CONVICTION_BYTES = 4096
MAX_BUNDLE_BYTES = 2**32
DOMAIN = b"swarm/conviction/v1"
_FIELDS = 11
_PEER_ID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{20,80}")


@dataclass(frozen=True)
class Bundle:
    """Evidence that is too large for the directory."""

    digest: bytes  # SHA-256 of it
    nbytes: int
    holder: pb.Endpoint  # of a peer that hands it out


@dataclass(frozen=True)
class Conviction:
    """What `announcer` says of `accused`. Either `proof` or `bundle` is given."""

    model: str
    accused: str  # peer id
    announcer: str  # peer id
    kind: str  # one of KINDS
    proof: bytes = b""  # opaque here
    bundle: Bundle | None = None
    issued_ms: int = 0
    expires_ms: int = 0

    @property
    def subkey(self) -> str:
        """Under which the directory holds it."""
        return f"{self.accused}/{self.announcer}"


def parties(subkey: object) -> tuple[str, str] | None:
    """Accused and announcer; None for what is no conviction's subkey. No peer id has a slash in it."""
    accused, slash, announcer = subkey.partition("/") if isinstance(subkey, str) else ("", "", "")
    return (accused, announcer) if slash else None


def dht_key(model: str) -> str:
    """Under which the directory holds the convictions of a model's peers."""
    return f"swarm/convictions/v1/{model}"


def sign(conviction: Conviction, identity: Identity) -> bytes:
    """The bytes of `conviction` as they go into the directory. Raises InvalidRequest if they are too many."""
    bundle = conviction.bundle
    payload = msgpack.packb([
        VERSION, conviction.model, conviction.accused, conviction.announcer, conviction.kind, conviction.issued_ms,
        conviction.expires_ms, conviction.proof,
        bundle.digest if bundle else b"", bundle.nbytes if bundle else 0,
        bundle.holder.SerializeToString() if bundle else b"",
    ])  # fmt: skip
    data = pb.SignedRecord(payload=payload, signature=identity.sign(DOMAIN, payload)).SerializeToString()
    if len(data) > MAX_CONVICTION_BYTES:
        raise InvalidRequest(f"a conviction of {len(data)} bytes; give its proof as a bundle, they are too many")
    return data


def verify(data: bytes, now_s: float | None = None) -> Conviction:
    """Check the form of an announcement; `data` is untrusted. It says nothing about whether the accusation is true.

    Raises InvalidRequest if it is oversized, malformed, expired, from the future, or not signed by its announcer.
    """
    if len(data) > MAX_CONVICTION_BYTES:
        raise InvalidRequest(f"a conviction of {len(data)} bytes; at most {MAX_CONVICTION_BYTES} are allowed")
    try:
        signed = pb.SignedRecord.FromString(data)
    except DecodeError as error:
        raise InvalidRequest("a conviction that is not a SignedRecord message") from error
    conviction = _parse(signed.payload)
    now_s = clock.now_s() if now_s is None else now_s
    check_times(conviction.issued_ms, conviction.expires_ms, now_s, "a conviction")
    if signer_of(DOMAIN, signed.payload, signed.signature) != conviction.announcer:
        raise InvalidRequest(f"a conviction that {conviction.announcer} has not signed")
    return conviction


def _parse(payload: bytes) -> Conviction:
    match _unpack(payload):
        case [
            int(version),
            str(model),
            str(accused),
            str(announcer),
            str(kind),
            int(issued_ms),
            int(expires_ms),
            bytes(proof),
            bytes(digest),
            int(nbytes),
            bytes(holder),
        ] if version == VERSION:
            pass
        case _:
            raise InvalidRequest(f"a conviction with other fields than those of version {VERSION}")
    if kind not in KINDS:
        raise InvalidRequest(f"a conviction of {kind!r:.40}; known are {', '.join(KINDS)}")
    if accused == announcer or not _PEER_ID.fullmatch(accused):
        raise InvalidRequest(f"a conviction of {accused!r:.100} by {announcer!r:.100}")
    if bool(proof) == bool(digest):
        raise InvalidRequest("a conviction must have either a proof or the digest of one")
    bundle = _bundle(digest, nbytes, holder) if digest else None
    return Conviction(model, accused, announcer, kind, proof, bundle, issued_ms, expires_ms)


def _unpack(payload: bytes) -> object:
    try:
        return msgpack.unpackb(payload, max_array_len=_FIELDS, max_map_len=0)
    except Exception as error:  # msgpack raises its own, ValueError, TypeError, ... on hostile bytes
        raise InvalidRequest("a conviction that is not msgpack") from error


def _bundle(digest: bytes, nbytes: int, holder: bytes) -> Bundle:
    try:
        endpoint = pb.Endpoint.FromString(holder)
    except DecodeError as error:
        raise InvalidRequest("a conviction whose evidence is held at no endpoint") from error
    if len(digest) != DIGEST_BYTES or not 0 < nbytes <= MAX_BUNDLE_BYTES:
        raise InvalidRequest(f"a conviction whose evidence has {nbytes} bytes and a digest of {len(digest)}")
    if not 0 < endpoint.port < 65536 or not 0 < len(endpoint.host) <= 255:
        where = join_address(endpoint.host, endpoint.port)
        raise InvalidRequest(f"a conviction whose evidence is at a bad address: {where}")
    if not 0 < len(endpoint.certificate) <= MAX_CERTIFICATE_BYTES:
        raise InvalidRequest("a conviction whose evidence is held by a peer without a certificate")
    return Bundle(digest, nbytes, endpoint)
