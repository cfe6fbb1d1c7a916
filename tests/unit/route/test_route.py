"""Which blocks nobody serves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest, NoRoute
from swarm.route.peer import PeerInfo
from swarm.route.route import chain_of, missing_blocks, uncovered
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


def test_a_chain_that_somebody_wants_names_peers_as_everywhere():
    peers = [peer("firstAAAA", 0, 6), peer("secondAAAA", 6, 12), peer("thirdBBBB", 6, 12)]
    chain = chain_of([("firstAAAA", (0, 6)), ("BBBB", (6, 12))], peers, 0, 12)
    assert [hop.peer.peer_id for hop in chain] == ["firstAAAA", "thirdBBBB"]
    with pytest.raises(InvalidRequest, match="names 2 peers that can be used"):
        chain_of([("AAAA", (0, 12))], peers, 0, 12)
    with pytest.raises(NoRoute, match="has an id that ends in 'CCCC'"):
        chain_of([("CCCC", (0, 12))], peers, 0, 12)
