"""Whom a client believes about a model's weights."""

import hashlib
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest
from swarm.model.identity import weights_root
from swarm.peers.weights import KnownWeights
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb

# --- whom to believe -------------------------------------------------------------------------------------------------


def peer(name: str, start: int, digests: list[bytes]) -> PeerInfo:
    stop = start + len(digests)
    return PeerInfo(
        name * 10,
        "m",
        "r",
        start,
        stop,
        12,
        "float32",
        "none",
        "",
        pb.Endpoint(),
        pb.ONLINE,
        0,
        0,
        pb.Load(),
        weights=weights_root(digests),
    )


def some(*kinds: int) -> list[bytes]:
    return [hashlib.sha256(bytes([kind])).digest() for kind in kinds]


def test_who_has_the_files_believes_nobody_else():
    known, right, wrong = KnownWeights("m"), peer("a", 0, some(0, 1)), [peer(name, 0, some(0, 9)) for name in "bcd"]
    for other in wrong:
        known.hear(other, some(0, 9))
    for block, digest in enumerate(some(0, 1)):
        known.learn(block, digest)
    assert not known.contradicts(right)
    assert all(map(known.contradicts, wrong))
    assert known.root(0, 2) == right.weights
    assert known.unheard([right, *wrong]) == []


@given(st.permutations([("a", 0, (0, 1)), ("b", 0, (0, 1)), ("c", 1, (1, 2)), ("d", 0, (0, 9)), ("e", 1, (9, 2))]))
def test_who_has_no_files_believes_most_of_those_that_contradict_each_other(said):
    known, peers = KnownWeights("m"), {}
    for name, start, kinds in said:
        peers[name] = peer(name, start, some(*kinds))
        known.hear(peers[name], some(*kinds))
    assert {name for name in peers if known.contradicts(peers[name])} == {"d", "e"}
    assert known.root(0, 3) == weights_root(some(0, 1, 2))
    assert known.root(0, 4) == b""
    known.keep_only([peers["d"]])
    assert not known.contradicts(peers["d"])


def test_a_contradiction_is_warned_of_once(caplog):
    known = KnownWeights("m")
    with caplog.at_level(logging.WARNING):
        for name, kinds in {"a": (0, 1), "b": (0, 2), "c": (0, 3)}.items():
            known.hear(peer(name, 0, some(*kinds)), some(*kinds))
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "peers announce different weights for block 1 of 'm'"
    ]


@pytest.mark.parametrize("said", [some(0, 2), some(0), some(0, 1, 2), [b"short", b""], []])
def test_who_says_something_else_than_its_record_counts_for_nothing(said):
    known, liar = KnownWeights("m"), peer("a", 0, some(0, 1))
    assert known.unheard([liar]) == [liar]
    with pytest.raises(InvalidRequest, match="other weights in its record"):
        known.hear(liar, said)
    assert known.contradicts(liar)
    assert known.root(0, 2) == b""
    assert known.unheard([liar]) == []
