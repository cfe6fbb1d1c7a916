"""Peers as a client finds them in the directory, all of the same blocks."""

from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb

BLOCKS = 10


def peer(peer_id: str, revision: str = "r", decoding: int = 0, **fields: object) -> PeerInfo:
    endpoint, load = pb.Endpoint(peer_id=peer_id), pb.Load(decoding=decoding)
    figures = {"dtype": "float32", "quant": "none", "numerics_id": ""} | fields
    return PeerInfo(
        peer_id, "m", revision, 0, BLOCKS, BLOCKS, endpoint=endpoint, state=pb.ONLINE, issued_ms=0, expires_ms=0,
        load=load, **figures,
    )  # fmt: skip
