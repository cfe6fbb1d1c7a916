"""The chain with the fewest hops, and what is missing."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import NoRoute
from swarm.route.peer import PeerInfo
from swarm.route.route import fewest_hops, missing_blocks
from swarm.wire import messages_pb2 as pb


def peer(name: str, start: int, stop: int) -> PeerInfo:
    return PeerInfo(name, "m", "r", start, stop, 12, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())


# --- the chain -------------------------------------------------------------------------------------------------------

ranges = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)).filter(lambda r: r[0] < r[1]), max_size=7)


def brute_force(peers: list[PeerInfo], num_blocks: int) -> int | None:
    """The fewest hops of any chain, by trying all of them."""
    for length in range(1, len(peers) + 1):
        for chain in itertools.permutations(peers, length):
            block = 0
            for hop in chain:
                if not hop.start <= block < hop.stop:
                    break
                block = hop.stop
            else:
                if block >= num_blocks:
                    return length
    return None


@given(ranges, st.integers())
def test_the_chain_covers_the_model_with_the_fewest_hops(blocks, seed):
    peers = [peer(str(index), *r) for index, r in enumerate(blocks)]
    best = brute_force(peers, 12)
    if best is None:
        with pytest.raises(NoRoute):
            fewest_hops(peers, 12, random.Random(seed))
        return
    chain = fewest_hops(peers, 12, random.Random(seed))
    assert len(chain) == best
    assert [hop.start for hop in chain] == [0] + [hop.stop for hop in chain[:-1]]
    assert chain[-1].stop == 12
    assert all(hop.peer.start <= hop.start < hop.stop <= hop.peer.stop for hop in chain)


@given(ranges)
def test_missing_blocks_are_those_that_nobody_serves(blocks):
    gaps = missing_blocks([peer("x", *r) for r in blocks], 12)
    missing = {block for start, stop in gaps for block in range(start, stop)}
    assert missing == set(range(12)) - {block for start, stop in blocks for block in range(start, stop)}


def test_the_error_names_the_gap_and_the_command_that_fills_it():
    with pytest.raises(NoRoute, match=r"4:6.*--blocks 4:6"):
        fewest_hops([peer("a", 0, 4), peer("b", 6, 12)], 12, random.Random(0))
