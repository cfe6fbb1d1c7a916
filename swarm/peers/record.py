"""Directory records: what a peer says of itself, signed with its key, and what makes such a record acceptable."""

import hashlib

from google.protobuf.message import DecodeError

from swarm import clock
from swarm.errors import InvalidRequest
from swarm.route.costs import PeerCosts
from swarm.route.peer import MAX_LINKS, PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.facts import MAX_EVIDENCE_BYTES
from swarm.wire.formats.merkle import DIGEST_BYTES
from swarm.wire.hosts import join_address
from swarm.wire.identity import Identity, signer_of
from swarm.wire.tls import MAX_CERTIFICATE_BYTES

VERSION = 1
MAX_RECORD_BYTES = 4096
MAX_PAUSED = 200  # characters of why a peer takes no new sessions
MAX_LIFE_S = 600  # nobody may squat in the directory for longer without refreshing
INSTANCE_BYTES = 16
MAX_MACHINE_BYTES = 16
CLOCK_SKEW_S = 10  # peers' clocks are within a second of one another, but for a moment: see swarm.peers.dht.timekeeper
_DOMAIN = b"swarm/peer-record/v1"


def sign(record: pb.PeerRecord, identity: Identity) -> bytes:
    """The bytes of `record` signed by `identity`, as they go into the directory."""
    payload = record.SerializeToString()
    return pb.SignedRecord(payload=payload, signature=identity.sign(_DOMAIN, payload)).SerializeToString()


def verify(data: bytes, now_s: float | None = None) -> PeerInfo:
    """Check a record from the directory; `data` is untrusted.

    Raises InvalidRequest if it is oversized, malformed, expired, issued in the future, or not signed by the key inside
    the peer id that it names.
    """
    signed, record = _open(data)
    _check_fields(record)
    now_s = clock.now_s() if now_s is None else now_s
    check_times(record.issued_ms, record.expires_ms, now_s, "a directory record")
    _check_signature(signed, record)
    return PeerInfo.of(record, hashlib.sha256(signed.payload).digest())


def signer_and_expiry(data: bytes) -> tuple[str, int]:
    """Of a record that may be fit for nothing else, such as one from before clocks were set: peer id and Unix time in
    milliseconds. Raises InvalidRequest if it is oversized, malformed, or not signed by whom it names."""
    signed, record = _open(data)
    _check_signature(signed, record)
    return record.peer_id, record.expires_ms


def costs_message(costs: PeerCosts) -> pb.Costs:
    """`costs` as they travel in a record."""
    return pb.Costs(
        decode_us=[seconds * 1e6 for seconds in costs.decode_s],
        prefill_us=costs.prefill_s * 1e6,
        queue_us=costs.queue_s * 1e6,
        started_ms=costs.started_ms,
        links=[
            pb.NeighbourLink(peer_id=peer_id, round_trip_us=link.round_trip_s * 1e6, bytes_per_s=link.bytes_per_s)
            for peer_id, link in list(costs.links.items())[:MAX_LINKS]
        ],
        step_us=costs.step_s * 1e6,
        threads=costs.threads,
        cores=costs.cores,
        machine=costs.machine,
        row_us=costs.row_s * 1e6,
    )


def _open(data: bytes) -> tuple[pb.SignedRecord, pb.PeerRecord]:
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidRequest(f"a directory record of {len(data)} bytes; at most {MAX_RECORD_BYTES} are allowed")
    try:
        signed = pb.SignedRecord.FromString(data)
        return signed, pb.PeerRecord.FromString(signed.payload)
    except DecodeError as error:
        raise InvalidRequest("a directory record that is not a SignedRecord message") from error


def _check_signature(signed: pb.SignedRecord, record: pb.PeerRecord) -> None:
    if signer_of(_DOMAIN, signed.payload, signed.signature) != record.peer_id:
        raise InvalidRequest(f"a directory record for {record.peer_id} that is not signed with that peer's key")


def _check_fields(record: pb.PeerRecord) -> None:
    endpoint = record.endpoint
    if record.version != VERSION:
        raise InvalidRequest(f"a directory record of version {record.version}; this software reads {VERSION}")
    if not record.start < record.stop <= record.num_blocks <= 10_000 or record.max_blocks > 10_000:
        raise InvalidRequest(f"a directory record for blocks {record.start}:{record.stop} of {record.num_blocks}")
    if len(record.weights) not in (0, DIGEST_BYTES):
        raise InvalidRequest(f"a directory record with a digest of weights of {len(record.weights)} bytes")
    if len(record.instance) not in (0, INSTANCE_BYTES):
        raise InvalidRequest(f"a directory record with an instance of {len(record.instance)} bytes")
    if len(record.costs.machine) > MAX_MACHINE_BYTES:
        raise InvalidRequest(f"a directory record with {len(record.costs.machine)} bytes of a machine's name")
    if len(record.attestation) > MAX_EVIDENCE_BYTES:
        raise InvalidRequest(f"a directory record with {len(record.attestation)} bytes of attestation")
    if len(record.paused) > MAX_PAUSED:
        raise InvalidRequest(
            f"a directory record that says in {len(record.paused)} characters why it takes no sessions"
        )
    if record.state == pb.JOINING:
        return  # nobody may call it yet
    if endpoint.peer_id != record.peer_id or not 0 < endpoint.port < 65536 or not 0 < len(endpoint.host) <= 255:
        raise InvalidRequest(f"a directory record with a bad address: {join_address(endpoint.host, endpoint.port)}")
    if not 0 < len(endpoint.certificate) <= MAX_CERTIFICATE_BYTES:
        raise InvalidRequest("a directory record without a certificate, or with an oversized one")


def check_times(issued_ms: int, expires_ms: int, now_s: float, what: str) -> None:
    """Raises InvalidRequest for what is signed for a time that is over, has not come, or is too long. what: for the
    message, "a directory record"."""
    now_ms = int(now_s * 1000)
    if expires_ms <= now_ms:
        raise InvalidRequest(f"{what} that has expired")
    if issued_ms > now_ms + CLOCK_SKEW_S * 1000:
        raise InvalidRequest(f"{what} from the future; check the clocks of both machines")
    if expires_ms - issued_ms > MAX_LIFE_S * 1000:
        raise InvalidRequest(f"{what} that wants to live longer than {MAX_LIFE_S} s")
