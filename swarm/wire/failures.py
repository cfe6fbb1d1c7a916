"""An error as it travels; swarm.errors.from_wire is the way back."""

from swarm.errors import SwarmError
from swarm.wire import messages_pb2 as pb


def failure(error: SwarmError, load: pb.Load | None = None, session_id: bytes = b"", start: int = 0) -> pb.Failure:
    """`error` for whoever asked. load: of the peer that refuses. session_id, start: which session it is about, where
    the stream does not say."""
    return pb.Failure(code=type(error).__name__, message=str(error), load=load, session_id=session_id, start=start)
