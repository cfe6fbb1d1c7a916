"""Directory records: what a peer says of itself, signed with its key, and what makes such a record acceptable."""

import hashlib
import math
import time
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from swarm.errors import InvalidRequest
from swarm.route.costs import BATCHES, Link, PeerCosts
from swarm.verify.attestation import MAX_EVIDENCE_BYTES, Facts
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.merkle import DIGEST_BYTES
from swarm.wire.formats.quotes import FREE_QUOTE, Quote
from swarm.wire.identity import Identity, signer_of
from swarm.wire.tls import MAX_CERTIFICATE_BYTES

VERSION = 1
MAX_RECORD_BYTES = 4096
MAX_LIFE_S = 600  # nobody may squat in the directory for longer without refreshing
MAX_LINKS = 16  # to neighbours, that a record may name
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
    state: int  # pb.PeerState
    issued_ms: int
    expires_ms: int
    load: pb.Load
    costs: PeerCosts = field(default_factory=PeerCosts)
    pinned: bool = True  # its contributor chose the blocks: they do not move
    max_blocks: int = 0  # as many as it has memory for; 0: not said
    weights: bytes = b""  # root of the digests of the blocks that it serves (see model/identity.py); empty: not said
    quote: bytes = b""  # SHA-256 of the record as it was signed
    asks: Quote = FREE_QUOTE  # the quote that this names: what it wants for its work
    facts: Facts | None = None  # what `attestation` is to be about
    attestation: bytes = b""  # for the client's verifier to judge; nothing of it is checked here

    @classmethod
    def of(cls, record: pb.PeerRecord, quote: bytes = b"") -> "PeerInfo":
        """What `record` says. Raises InvalidRequest if its costs are no figures, or its quote no quote."""
        return cls(
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
            state=record.state,
            issued_ms=record.issued_ms,
            expires_ms=record.expires_ms,
            load=record.load,
            costs=_costs(record.costs),
            pinned=record.pinned,
            max_blocks=record.max_blocks or record.stop - record.start,
            weights=record.weights,
            quote=quote,
            asks=Quote.of(record.quote),
            facts=Facts.of(record),
            attestation=record.attestation,
        )

    @property
    def blocks(self) -> tuple[int, int]:
        return self.start, self.stop

    @property
    def format(self) -> str:
        """Of weights and of activations, as receipts name it: "int4/bfloat16"."""
        return f"{self.quant}/{self.dtype}"


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
    now_s = time.time() if now_s is None else now_s
    check_times(record.issued_ms, record.expires_ms, now_s, "a directory record")
    if signer_of(_DOMAIN, signed.payload, signed.signature) != record.peer_id:
        raise InvalidRequest(f"a directory record for {record.peer_id} that is not signed with that peer's key")
    return PeerInfo.of(record, hashlib.sha256(signed.payload).digest())


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
    )


def _costs(message: pb.Costs) -> PeerCosts:
    """What a record claims, checked: a figure that is no time makes the whole record invalid."""
    times = [*message.decode_us, message.prefill_us, message.queue_us]
    times += [figure for link in message.links for figure in (link.round_trip_us, link.bytes_per_s)]
    if not all(math.isfinite(figure) and figure >= 0 for figure in times):
        raise InvalidRequest("a directory record whose costs are not numbers from 0 up")
    if len(message.decode_us) > len(BATCHES) or len(message.links) > MAX_LINKS:
        raise InvalidRequest(f"a directory record with {len(message.decode_us)} times and {len(message.links)} links")
    if any(figure == 0 for figure in message.decode_us) or any(link.bytes_per_s == 0 for link in message.links):
        raise InvalidRequest("a directory record that claims to compute or to send in no time")
    return PeerCosts(
        decode_s=tuple(figure / 1e6 for figure in message.decode_us),
        prefill_s=message.prefill_us / 1e6,
        queue_s=message.queue_us / 1e6,
        started_ms=message.started_ms,
        links={link.peer_id: Link(link.round_trip_us / 1e6, link.bytes_per_s) for link in message.links},
    )


def _check_fields(record: pb.PeerRecord) -> None:
    endpoint = record.endpoint
    if record.version != VERSION:
        raise InvalidRequest(f"a directory record of version {record.version}; this software reads {VERSION}")
    if not record.start < record.stop <= record.num_blocks <= 10_000 or record.max_blocks > 10_000:
        raise InvalidRequest(f"a directory record for blocks {record.start}:{record.stop} of {record.num_blocks}")
    if len(record.weights) not in (0, DIGEST_BYTES):
        raise InvalidRequest(f"a directory record with a digest of weights of {len(record.weights)} bytes")
    if len(record.attestation) > MAX_EVIDENCE_BYTES:
        raise InvalidRequest(f"a directory record with {len(record.attestation)} bytes of attestation")
    if record.state == pb.JOINING:
        return  # nobody may call it yet
    if endpoint.peer_id != record.peer_id or not 0 < endpoint.port < 65536 or not 0 < len(endpoint.host) <= 255:
        raise InvalidRequest(f"a directory record with a bad address: {endpoint.host}:{endpoint.port}")
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
