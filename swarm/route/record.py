"""Directory records: what a peer says of itself, signed with its key, and what makes such a record acceptable."""

import time
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity, signer_of
from swarm.wire.tls import MAX_CERTIFICATE_BYTES

VERSION = 1
MAX_RECORD_BYTES = 4096
MAX_LIFE_S = 600  # nobody may squat in the directory for longer without refreshing
CLOCK_SKEW_S = 10  # hivemind itself refuses peers whose clocks differ by more than 3 s
_DOMAIN = b"swarm/peer-record/v1"


@dataclass(frozen=True)
class PeerInfo:
    """A verified directory record."""

    peer_id: str
    model: str
    revision: str
    start: int  # first block served
    stop: int  # one past the last
    num_blocks: int  # of the whole model
    dtype: str  # of activations and cache, and of weights that are not quantised
    quant: str
    numerics_id: str  # peers with the same one compute the same bits; empty: nothing promised
    endpoint: pb.Endpoint
    leaving: bool
    issued_ms: int
    expires_ms: int
    load: pb.Load

    @property
    def blocks(self) -> tuple[int, int]:
        return self.start, self.stop


def sign(record: pb.PeerRecord, identity: Identity) -> bytes:
    """The bytes of `record` signed by `identity`, as they go into the directory."""
    payload = record.SerializeToString()
    return pb.SignedRecord(payload=payload, signature=identity.sign(_DOMAIN, payload)).SerializeToString()


def verify(data: bytes, now_s: float | None = None) -> PeerInfo:
    """Check a record from the directory; `data` is untrusted.

    Raises InvalidRequest if it is oversized, malformed, expired, issued in the future, or not signed by the key inside
    the peer id that it names.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidRequest(f"a directory record of {len(data)} bytes; at most {MAX_RECORD_BYTES} are allowed")
    try:
        signed = pb.SignedRecord.FromString(data)
        record = pb.PeerRecord.FromString(signed.payload)
    except DecodeError as error:
        raise InvalidRequest("a directory record that is not a SignedRecord message") from error
    _check_fields(record)
    _check_times(record, time.time() if now_s is None else now_s)
    if signer_of(_DOMAIN, signed.payload, signed.signature) != record.peer_id:
        raise InvalidRequest(f"a directory record for {record.peer_id} that is not signed with that peer's key")
    return PeerInfo(
        peer_id=record.peer_id,
        model=record.model,
        revision=record.revision,
        start=record.start,
        stop=record.stop,
        num_blocks=record.num_blocks,
        dtype=record.dtype,
        quant=record.quant or "none",
        numerics_id=record.numerics_id,
        endpoint=record.endpoint,
        leaving=record.state == pb.LEAVING,
        issued_ms=record.issued_ms,
        expires_ms=record.expires_ms,
        load=record.load,
    )


def _check_fields(record: pb.PeerRecord) -> None:
    endpoint = record.endpoint
    if record.version != VERSION:
        raise InvalidRequest(f"a directory record of version {record.version}; this software reads {VERSION}")
    if not record.start < record.stop <= record.num_blocks <= 10_000:
        raise InvalidRequest(f"a directory record for blocks {record.start}:{record.stop} of {record.num_blocks}")
    if endpoint.peer_id != record.peer_id or not 0 < endpoint.port < 65536 or not 0 < len(endpoint.host) <= 255:
        raise InvalidRequest(f"a directory record with a bad address: {endpoint.host}:{endpoint.port}")
    if not 0 < len(endpoint.certificate) <= MAX_CERTIFICATE_BYTES:
        raise InvalidRequest("a directory record without a certificate, or with an oversized one")


def _check_times(record: pb.PeerRecord, now_s: float) -> None:
    now_ms = int(now_s * 1000)
    if record.expires_ms <= now_ms:
        raise InvalidRequest("a directory record that has expired")
    if record.issued_ms > now_ms + CLOCK_SKEW_S * 1000:
        raise InvalidRequest("a directory record from the future; check the clocks of both machines")
    if record.expires_ms - record.issued_ms > MAX_LIFE_S * 1000:
        raise InvalidRequest(f"a directory record that wants to live longer than {MAX_LIFE_S} s")
