"""Peers that a client names, to use no others or never these."""

import pytest

from swarm.errors import InvalidRequest, NoRoute
from swarm.peers.chosen import Chosen
from swarm.peers.policy import accepted
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb


def peer(peer_id: str) -> PeerInfo:
    return PeerInfo(peer_id, "m", "r", 0, 2, 2, "float32", "none", "", pb.Endpoint(), 0, 0, 0, pb.Load())


def names(peers: list[PeerInfo]) -> list[str]:
    return [one.peer_id for one in peers]


A, B = f"16Uiu2HA{'m' * 30}LLNv55aa", f"16Uiu2HA{'m' * 30}LLNv66aa"


def test_a_peer_is_named_by_its_id_or_by_the_end_of_it():
    peers = [peer(A), peer(B)]
    assert names(accepted([Chosen(excluded=["55aa"])], "m", peers)) == [B]
    assert names(accepted([Chosen(trusted=[A])], "m", peers)) == [A]
    assert names(accepted([Chosen(trusted="LLNv66aa")], "m", peers)) == [B]  # one name is not a list of letters


def test_who_was_named_by_the_end_of_its_id_is_that_peer_alone_from_then_on():
    chosen = Chosen(trusted=["55aa"])
    assert names(accepted([chosen], "m", [peer(A), peer(B)])) == [A]
    twin = f"x{A}"
    assert names(accepted([chosen], "m", [peer(A), peer(twin)])) == [A]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("66xx", "no peer in this swarm has an id that ends in '66xx'; there are LLNv55aa, LLNv66aa"),
        ("aaaa", "no peer in this swarm"),
        ("55a", "names no peer"),
        ("0Oil", "names no peer"),
        (b"LLNv55aa", "names no peer"),
    ],
)
def test_a_name_that_is_nobodys_is_an_error(name, said):
    with pytest.raises(InvalidRequest, match=said):
        accepted([Chosen(excluded=[name])], "m", [peer(A), peer(B)])


def test_a_name_that_two_peers_have_is_an_error_that_names_both():
    with pytest.raises(InvalidRequest, match=r"'LLNvaaaa' names 2 peers in this swarm, a+LLNvaaaa, b+LLNvaaaa; give"):
        accepted([Chosen(["LLNvaaaa"])], "m", [peer("a" * 30 + "LLNvaaaa"), peer("b" * 30 + "LLNvaaaa")])


def test_whole_ids_may_be_of_peers_that_are_yet_to_come():
    assert names(accepted([Chosen(excluded=[A])], "m", [peer(B)])) == [B]
    with pytest.raises(NoRoute, match="no peer of 'm' is used: 1 peer not among those that are trusted by this client"):
        accepted([Chosen(trusted=[A])], "m", [peer(B)])
