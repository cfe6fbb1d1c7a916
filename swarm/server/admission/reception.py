"""Whether a session may be opened here: what its first message asks for, checked against what this peer serves."""

import time
from collections.abc import Container, Sequence

from swarm.errors import InvalidRequest, PeerBusy, RevisionMismatch
from swarm.model.identity import weights_root
from swarm.route.peer import PeerInfo
from swarm.server.admission.gate import Gate
from swarm.server.admission.waiting import Place
from swarm.server.session.session import SessionKey
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import NOTHING, Terms
from swarm.wire.session_id import check_session_id


class Reception:
    """Of one server."""

    def __init__(
        self,
        record: PeerInfo,
        block_digests: Sequence[bytes],
        address: bytes,
        receipts: ReceiptStore,
        sessions: Container[SessionKey],
        gate: Gate,
        max_context: int,
    ):
        """block_digests: of the weights of the record's blocks. address: of the peer's key. receipts: remembers what
        was opened before. sessions: those that are open."""
        self._record, self._block_digests, self._address = record, block_digests, address
        self._receipts, self._sessions, self._gate, self._max_context = receipts, sessions, gate, max_context
        self.is_closed = False  # this peer leaves

    def admit(self, request: pb.Open, caller: str) -> Place:
        """Check and let in `request`. caller: as gRPC names it. Raises InvalidRequest, RevisionMismatch, PeerBusy."""
        self._check(request)
        if self.is_closed:
            raise PeerBusy("this peer is leaving the swarm")
        place = self._gate.enter(request, caller)
        # Last, for it is remembered: two openings under one name could make two receipts that look like a fraud.
        if not self._receipts.remember_opening(request.session_id, request.start, request.seq):
            raise InvalidRequest("this session was opened here before; open it again under a higher number")
        return place

    def _check(self, request: pb.Open) -> None:
        record = self._record
        check_session_id(request.session_id, time.time())
        if (request.session_id, request.start) in self._sessions:
            raise InvalidRequest("this session is open here already")
        if request.model != record.model:
            raise InvalidRequest(f"this peer serves {record.model!r}, not {request.model!r}")
        if request.revision != record.revision:
            raise RevisionMismatch(
                f"this peer serves revision {record.revision} of {record.model!r}, the client has {request.revision}; "
                "use the same files on both sides"
            )
        if not record.start <= request.start < request.stop <= record.stop:
            raise InvalidRequest(
                f"this peer serves blocks {record.start}:{record.stop}, not {request.start}:{request.stop}"
            )
        if request.weights and request.weights != self._weights(request.start, request.stop):
            raise RevisionMismatch(
                f"this peer's weights for blocks {request.start}:{request.stop} of {record.model!r} are not those that "
                "the client expects; compare what `python -m swarm identity` says of the files on both sides"
            )
        if not 1 <= request.max_tokens <= self._max_context:
            raise InvalidRequest(
                f"a context of {request.max_tokens} tokens is longer than this peer allows ({self._max_context})"
            )
        codec.torch_dtype(request.wire_dtype)
        if len(request.quote) not in (0, 32):
            raise InvalidRequest(f"a quote is named by 32 bytes, not {len(request.quote)}")

    def terms(self, request: pb.Open) -> Terms:
        """What this peer's receipts for a session say of it."""
        return Terms(
            session=request.session_id,
            attempt=request.seq,
            peer=self._address,
            start=request.start,
            stop=request.stop,
            weights=self._weights(request.start, request.stop),
            format=f"{self._record.quant}/{self._record.dtype}",
            numerics_id=self._record.numerics_id,
            wire_dtype=request.wire_dtype,
            quote=request.quote or NOTHING,
        )

    def _weights(self, start: int, stop: int) -> bytes:
        """Root of the digests of blocks start to stop - 1, which must be among those served."""
        return weights_root(self._block_digests[start - self._record.start : stop - self._record.start])
