"""Which blocks nobody serves."""

from hypothesis import given
from hypothesis import strategies as st

from swarm.route.peer import PeerInfo
from swarm.route.route import missing_blocks, uncovered
from swarm.wire import messages_pb2 as pb


def peer(name: str, start: int, stop: int) -> PeerInfo:
    return PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())


ranges = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda r: r[0] < r[1]), max_size=7)


@given(ranges)
def test_missing_blocks_are_those_that_nobody_serves(blocks):
    gaps = missing_blocks([peer("x", *r) for r in blocks], 12)
    missing = {block for start, stop in gaps for block in range(start, stop)}
    assert missing == set(range(12)) - {block for start, stop in blocks for block in range(start, stop)}


def test_the_error_names_the_gap():
    error = uncovered([peer("a", 0, 4), peer("b", 6, 12)], 12)
    assert str(error) == "no peer serves blocks 4:6 of this model's 12"
    assert error.uncovered == ((4, 6),)
