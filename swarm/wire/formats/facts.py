"""What a peer says of itself, by one digest, for evidence of what runs there to be about."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from swarm.wire import messages_pb2 as pb

MAX_EVIDENCE_BYTES = 1536  # so that a record with all its links stays below its own limit


@dataclass(frozen=True)
class Facts:
    """What a peer says of itself, and evidence is to be about."""

    peer_id: str
    certificate: str  # SHA-256 of the DER of its TLS certificate, hexadecimal
    model: str
    revision: str
    blocks: tuple[int, int]  # start, stop
    quant: str
    dtype: str
    numerics_id: str
    weights: str  # digest of all that it serves, hexadecimal; empty: not said
    software: str

    @classmethod
    def of(cls, record: pb.PeerRecord) -> "Facts":
        """Of a directory record."""
        return cls(
            peer_id=record.peer_id,
            certificate=hashlib.sha256(record.endpoint.certificate).hexdigest(),
            model=record.model,
            revision=record.revision,
            blocks=(record.start, record.stop),
            quant=record.quant or "none",
            dtype=record.dtype,
            numerics_id=record.numerics_id,
            weights=record.weights.hex(),
            software=record.software,
        )

    def digest(self) -> bytes:
        """32 bytes that stand for all of it: what a quote should contain."""
        return hashlib.sha256(b"swarm/facts/v1" + json.dumps(asdict(self), sort_keys=True).encode()).digest()


Attester = Callable[[Facts], bytes]  # of a server: evidence for its own facts
