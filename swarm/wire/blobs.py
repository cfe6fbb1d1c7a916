"""Evidence on its way to a peer that keeps it for others, and from there to whoever asks for it by its digest."""

import hashlib
from collections.abc import Iterator

import grpc

from swarm.errors import InvalidRequest, from_wire
from swarm.wire import messages_pb2 as pb
from swarm.wire.peer_names import short_id
from swarm.wire.transport import Peer, unreachable

PIECE_BYTES = 2**17
MAX_PARCEL_BYTES = 2**26  # evidence that is larger stays with whoever has it
TIMEOUT_S = 60.0  # for one of them, from end to end


async def deposit(peer: Peer, data: bytes, digest: bytes) -> None:
    """Have `peer` keep `data`, whose SHA-256 is `digest`. Raises PeerUnreachable, and what `peer` refuses it with."""
    try:
        answer = await peer.deposit(_pieces(data, digest), TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise unreachable(peer, error) from error
    if answer.HasField("failure"):
        raise from_wire(answer.failure.code, answer.failure.message)


async def withdraw(peer: Peer, digest: bytes, nbytes: int) -> bytes:
    """What `peer` keeps under `digest`, which are `nbytes` bytes; no more are ever held.

    Raises PeerUnreachable, what `peer` refuses it with, and InvalidRequest if it sends something else.
    """
    data, hasher = bytearray(), hashlib.sha256()
    call = peer.withdraw(digest, TIMEOUT_S)
    try:
        async for piece in call:
            if piece.HasField("failure"):
                raise from_wire(piece.failure.code, piece.failure.message)
            if len(data) + len(piece.data) > nbytes:
                raise InvalidRequest(f"peer {short_id(peer.peer_id)} sends more than the {nbytes} bytes announced")
            data += piece.data
            hasher.update(piece.data)
    except grpc.aio.AioRpcError as error:
        raise unreachable(peer, error) from error
    finally:
        call.cancel()
    if len(data) != nbytes or hasher.digest() != digest:
        raise InvalidRequest(f"peer {short_id(peer.peer_id)} sends other evidence than was asked for")
    return bytes(data)


def _pieces(data: bytes, digest: bytes) -> Iterator[pb.DepositPiece]:
    """The first says what is to come, before any of it is sent."""
    yield pb.DepositPiece(digest=digest, nbytes=len(data))
    for start in range(0, len(data), PIECE_BYTES):
        yield pb.DepositPiece(data=data[start : start + PIECE_BYTES])
