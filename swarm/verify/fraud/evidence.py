"""Evidence against a peer in one file: whoever has the model can compute it again, and needs nothing else.

It holds what the accused signed, the inputs that it had, and the outputs that it gave; the accuser signs the whole.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgpack

from swarm.errors import InvalidRequest
from swarm.storage.files import write_whole
from swarm.verify.audit.case import Case
from swarm.wire import codec
from swarm.wire.codec import Rows
from swarm.wire.formats.receipts import MAX_RECEIPT_BYTES, SignedReceipt
from swarm.wire.identity import Identity, signer_of
from swarm.wire.peer_names import short_id

logger = logging.getLogger(__name__)

VERSION = 1
BEGINNING = bytes([0x94, VERSION])  # of every file: a list of four, of which this is the first
MAX_BUNDLE_BYTES = 2**30
MAX_RECEIPTS = 2**13  # at 0.3 ms each to check
MAX_POSITIONS = 2**20
_DOMAIN = b"swarm/evidence/v1"


@dataclass(frozen=True)
class Bundle:
    """model, revision: of the accused's announcement. accuser: the peer id that signed it."""

    case: Case
    model: str
    revision: str
    accuser: str = ""

    @property
    def digest(self) -> bytes:
        """32 bytes that name this evidence, whoever presents it."""
        return hashlib.sha256(_DOMAIN + self._payload()).digest()

    def encode(self, identity: Identity) -> bytes:
        """The file, signed by the accuser."""
        payload = self._payload()
        return _pack([VERSION, payload, identity.peer_id, identity.sign(_DOMAIN, payload)])

    def _payload(self) -> bytes:
        case = self.case
        return _pack([
            self.model, self.revision, [one.encode() for one in case.receipts], case.first, case.inputs.columns,
            case.inputs.data, case.outputs.data if case.outputs is not None else b"",
        ])  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> "Bundle":
        """The evidence in `data`, which is untrusted: whatever is in it is what the accused signed, and the accuser
        stands by it. Whether it convicts is for an examination to find out. Raises InvalidRequest."""
        match _unpack(data):
            case [int(version), bytes(payload), str(accuser), bytes(signature)] if version == VERSION:
                pass
            case _:
                raise InvalidRequest(f"not an evidence file of version {VERSION}")
        if signer_of(_DOMAIN, payload, signature) != accuser:
            raise InvalidRequest("evidence that its accuser has not signed")
        match _unpack(payload):
            case [str(model), str(revision), [*receipts], int(first), int(columns), bytes(inputs), bytes(outputs)]:
                pass
            case _:
                raise InvalidRequest("an evidence file with other parts than it should have")
        encoded = [one for one in receipts if isinstance(one, bytes) and len(one) <= MAX_RECEIPT_BYTES]
        if not encoded or len(encoded) != len(receipts):
            raise InvalidRequest("evidence without receipts")
        if not 0 < columns < 2**20:
            raise InvalidRequest(f"evidence with rows of {columns} numbers")
        signed = tuple(SignedReceipt.decode(one) for one in encoded)
        dtype, length = codec.torch_dtype(signed[0].receipt.terms.wire_dtype), signed[-1].receipt.stop_position
        wire, expected = codec.wire_dtype(dtype), length * columns * dtype.itemsize
        if length > MAX_POSITIONS or len(inputs) != expected or len(outputs) > expected:
            raise InvalidRequest(f"evidence with {len(inputs)} bytes for {length} positions")
        case = Case(signed, first, Rows.of(wire, columns, inputs), Rows.of(wire, columns, outputs) if outputs else None)
        return cls(case, model, revision, accuser)


def write_evidence(folder: Path, bundle: Bundle, data: bytes) -> Path | None:
    """Write `data`, the encoded `bundle`, into `folder`, for `python -m swarm evidence`. Returns its file; None if the
    disk does not take it."""
    peer_id = bundle.case.peer_id
    file = folder / f"{short_id(peer_id)}-{bundle.digest.hex()[:12]}.evidence"
    try:
        write_whole(file, data, 0o644)
    except OSError as error:
        logger.warning("evidence against peer %s cannot be written to %s: %s", peer_id, file, error)
        return None
    logger.warning("peer %s may not have computed what it announced; evidence: %s", peer_id, file)
    return file


def _pack(parts: Sequence[object]) -> bytes:
    packed: bytes = msgpack.packb(parts)
    return packed


def _unpack(data: bytes) -> object:
    if len(data) > MAX_BUNDLE_BYTES:
        raise InvalidRequest(f"longer than {MAX_BUNDLE_BYTES} bytes, which no evidence is")
    try:
        return msgpack.unpackb(data, max_array_len=MAX_RECEIPTS, max_map_len=0, max_bin_len=len(data))
    except Exception as error:  # msgpack raises its own, ValueError, TypeError, ... on hostile bytes
        raise InvalidRequest("not an evidence file: it is not msgpack") from error
