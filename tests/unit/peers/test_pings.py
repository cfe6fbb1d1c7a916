"""Round trips and bandwidths to many peers, without sockets and on a clock that the requests move."""

import asyncio
import math
import random
from collections.abc import Sequence

import pytest

from swarm.errors import InvalidRequest, PeerUnreachable
from swarm.peers.estimates import Estimates
from swarm.peers.pings import BANDWIDTH_AGE_S, FORGET_S, PEERS_PER_ROUND, Pings
from swarm.peers.poll import MEASURED_AT_ONCE
from swarm.route.costs import DEFAULT_BYTES_PER_S
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb


def make_peer(name: str) -> PeerInfo:
    endpoint = pb.Endpoint(peer_id=name)
    return PeerInfo(name, "m", "r", 0, 10, 30, "float32", "none", "", endpoint, False, 0, 0, pb.Load())


class Network:
    """Peers at given distances."""

    def __init__(self, round_trips_s: dict[str, float], bytes_per_s: float = 1e6):
        self.round_trip_s, self.bytes_per_s = dict(round_trips_s), bytes_per_s
        self.now_s = 0.0
        self.dead: set[str] = set()
        self.visits: list[str] = []
        self.at_once = self.most_at_once = 0
        self.pings = Pings(self._connect, clock=lambda: self.now_s, rng=random.Random(0))
        self.peers = [make_peer(name) for name in round_trips_s]

    def _connect(self, endpoint: pb.Endpoint) -> "Connection":
        if endpoint.peer_id == "junk":
            raise InvalidRequest("no certificate")
        self.visits.append(endpoint.peer_id)
        return Connection(self, endpoint.peer_id)

    def round(self, peers: Sequence[PeerInfo] | None = None, limit: int = PEERS_PER_ROUND) -> list[str]:
        """Who was visited."""
        before = len(self.visits)
        asyncio.run(self.pings.round(self.peers if peers is None else peers, limit))
        return self.visits[before:]


class Connection:
    def __init__(self, network: Network, peer_id: str):
        self._network, self._peer_id, self._first = network, peer_id, True

    async def status(self, timeout_s: float, padding_bytes: int = 0) -> pb.Status:
        network = self._network
        if self._peer_id in network.dead:
            raise PeerUnreachable("no answer")
        network.at_once += 1
        network.most_at_once = max(network.most_at_once, network.at_once)
        started_s = network.now_s
        await asyncio.sleep(0)
        handshake_s, self._first = (1.0 if self._first else 0.0), False
        transfer_s = padding_bytes / network.bytes_per_s
        network.now_s = started_s + network.round_trip_s[self._peer_id] + transfer_s + handshake_s
        network.at_once -= 1
        return pb.Status()


def test_the_handshake_is_not_counted_and_the_padding_tells_the_bandwidth():
    network = Network({"a": 0.02})
    network.round()
    assert network.pings.links()["a"].round_trip_s == pytest.approx(0.02)
    assert network.pings.links()["a"].bytes_per_s == pytest.approx(1e6)


def test_a_link_too_fast_to_measure_has_a_gigabit_at_least():
    network = Network({"a": 0.02}, bytes_per_s=math.inf)
    network.round()
    assert DEFAULT_BYTES_PER_S <= network.pings.links()["a"].bytes_per_s < math.inf


def test_not_only_the_last_ping_set_is_kept_and_the_router_sees_the_round_trip_to_every_candidate():
    network = Network({f"p{index}": 0.01 * (index + 1) for index in range(100)})
    for _ in range(4):
        network.round()
    links = network.pings.links()
    assert {info.peer_id for info in network.peers} == set(links)
    estimates = Estimates()
    seen = {info.peer_id: estimates.candidate(info, 0.0, links).client for info in network.peers}
    assert {peer_id: link.round_trip_s for peer_id, link in seen.items()} == pytest.approx(network.round_trip_s)
    assert list(links) == [info.peer_id for info in network.peers]  # nearest first


def test_a_thousand_peers_are_asked_a_few_at_a_time():
    network = Network({f"p{index}": 0.01 for index in range(1000)})
    asked = network.round()
    assert len(asked) == len(set(asked)) == PEERS_PER_ROUND
    assert network.most_at_once <= MEASURED_AT_ONCE


def test_those_never_asked_come_first_and_then_those_asked_longest_ago():
    network = Network(dict.fromkeys("abcd", 0.01))
    first = network.round(limit=2)
    second = network.round(limit=2)
    assert sorted(first + second) == ["a", "b", "c", "d"]
    assert sorted(network.round(limit=2)) == sorted(first)


def test_a_faster_answer_is_believed_at_once_and_a_slower_one_bit_by_bit():
    network = Network({"a": 0.1})
    network.round()
    network.round_trip_s["a"] = 0.02
    network.round()
    assert network.pings.links()["a"].round_trip_s == pytest.approx(0.02)
    network.round_trip_s["a"] = 1.02
    network.round()
    assert network.pings.links()["a"].round_trip_s == pytest.approx(0.12)
    for _ in range(50):
        network.round()
    assert network.pings.links()["a"].round_trip_s > 0.95


def test_bandwidth_is_measured_again_only_after_a_while():
    network = Network({"a": 0.01})
    network.round()
    network.bytes_per_s = 4e6
    network.round()
    assert network.pings.links()["a"].bytes_per_s == pytest.approx(1e6)
    network.now_s += BANDWIDTH_AGE_S
    network.round()
    assert network.pings.links()["a"].bytes_per_s == pytest.approx(4e6)


def test_peers_that_do_not_answer_are_noted_and_disturb_nobody():
    network = Network({"a": 0.01, "dead": 0.01, "junk": 0.01})
    network.dead.add("dead")
    network.round()
    assert set(network.pings.failures()) == {"dead", "junk"}
    assert set(network.pings.links()) == {"a"}
    network.dead.clear()
    network.round()
    assert set(network.pings.failures()) == {"junk"}
    assert "dead" in network.pings.links()


def test_a_peer_nobody_asks_for_any_more_is_forgotten():
    network = Network({"a": 0.01, "b": 0.01})
    network.round()
    network.now_s += FORGET_S + 1
    network.round([network.peers[1]])
    assert set(network.pings.links()) == {"b"}
