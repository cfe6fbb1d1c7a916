"""Whether a session may be opened here: what its first message asks for, checked against what this peer serves."""

from swarm import clock
from swarm.errors import InvalidRequest, RevisionMismatch
from swarm.server.served import Served
from swarm.shown import count
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.session_id import check_session_id


def check_opening(request: pb.Open, served: Served, max_context: int) -> None:
    """max_context: tokens in one session. Raises InvalidRequest, RevisionMismatch."""
    peer = served.peer
    check_session_id(request.session_id, clock.now_s())
    if request.model != peer.model:
        raise InvalidRequest(f"this peer serves {peer.model!r}, not {request.model!r}")
    if request.revision != peer.revision:
        raise RevisionMismatch(
            f"this peer serves revision {peer.revision} of {peer.model!r}, the client has {request.revision}; "
            "use the same files on both sides"
        )
    if not peer.start <= request.start < request.stop <= peer.stop:
        raise InvalidRequest(f"this peer serves blocks {peer.start}:{peer.stop}, not {request.start}:{request.stop}")
    if request.weights and request.weights != served.weights(request.start, request.stop):
        raise RevisionMismatch(
            f"this peer's weights for blocks {request.start}:{request.stop} of {peer.model!r} are not those that "
            "the client expects; compare what `python -m swarm identity` says of the files on both sides"
        )
    if not request.max_tokens:
        raise InvalidRequest("a session is for one token or more, not for none")
    if request.max_tokens > max_context:
        raise InvalidRequest(
            f"a context of {count(request.max_tokens, 'token')} is longer than this peer allows ({max_context})"
        )
    codec.torch_dtype(request.wire_dtype)
    if len(request.quote) not in (0, 32):
        raise InvalidRequest(f"a quote is named by 32 bytes, not {len(request.quote)}")
