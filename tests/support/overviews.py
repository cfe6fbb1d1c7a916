"""Peers as a survey finds them, and what is seen of them."""

from hypothesis import strategies as st

from swarm.peers.status.overview import Answer, Overview, State, make_overview
from swarm.route.costs import PeerCosts
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb

NUM_BLOCKS = 12


def peer(
    name: str, start: int, stop: int, *, revision: str = "r1", state: int = pb.ONLINE, **costs: object
) -> PeerInfo:
    endpoint = pb.Endpoint(host="127.0.0.1", port=1234)
    return PeerInfo(
        name,
        "m",
        revision,
        start,
        stop,
        NUM_BLOCKS,
        "float32",
        "none",
        "",
        endpoint,
        state,
        0,
        0,
        pb.Load(),
        PeerCosts(**costs),
    )


def answer(served: int = 0, at_s: float = 0.0, software: str = "swarm-inference 1", **load: int) -> Answer:
    said = pb.Status(load=pb.Load(**load), tokens_served=served, record=pb.PeerRecord(software=software))
    return Answer(said, round_trip_s=0.004, at_s=at_s)


def look(
    *peers: PeerInfo,
    silent: str = "",
    answers: dict[str, Answer] | None = None,
    before: dict[str, Answer] | None = None,
) -> Overview:
    """An overview in which everybody but the peers named by the letters of `silent` answers."""
    everybody = {info.peer_id: answer() for info in peers if info.peer_id not in silent}
    return make_overview("m", peers, {**everybody, **(answers or {})}, before or {}, now_s=1_000_000.0)


def states(view: Overview) -> dict[str, State]:
    return {peer.peer_id: peer.state for peer in view.peers}


# --- the overview ----------------------------------------------------------------------------------------------------

ranges = st.lists(
    st.tuples(st.integers(0, NUM_BLOCKS - 1), st.integers(1, NUM_BLOCKS)).filter(lambda r: r[0] < r[1]),
    min_size=1,
    max_size=8,
)
