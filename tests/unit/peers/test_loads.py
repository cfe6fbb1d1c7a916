"""How busy peers are, by what they said last, without a network."""

import asyncio
from collections import Counter
from types import SimpleNamespace

from listed import peer
from swarm.errors import PeerUnreachable
from swarm.peers.loads import FRESH_S, Loads
from swarm.wire import messages_pb2 as pb
from swarm.wire.connections import Connections


class Busy:
    """Connections to peers that say how busy they are; "away" does not answer."""

    def __init__(self, decoding: int):
        self._decoding = decoding

    def __call__(self, endpoint: pb.Endpoint) -> SimpleNamespace:
        async def status(timeout_s: float) -> pb.Status:
            if endpoint.peer_id == "away":
                raise PeerUnreachable("no answer")
            return pb.Status(load=pb.Load(decoding=self._decoding))

        async def close(last_calls_s: float = 0.0) -> None:
            pass

        return SimpleNamespace(status=status, close=close)


def test_what_a_peer_has_just_said_counts_for_more_than_its_record(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    loads, one = Loads(Connections(Busy(3))), peer("a", decoding=1)
    assert loads.of([one])[0].decoding == 1
    loads.note("a", pb.Load(decoding=7))
    assert loads.of([one])[0].decoding == 7
    now_s += FRESH_S
    assert loads.of([one])[0].decoding == 1


def test_a_load_is_no_less_than_what_this_client_itself_keeps_busy():
    loads, one = Loads(Connections(Busy(3)), lambda: Counter({"a": 4, "b": 9})), peer("a", decoding=1)
    assert loads.of([one])[0].decoding == 4
    assert one.load.decoding == 1  # its record is as it was


def test_peers_are_asked_how_busy_they_are_and_the_silent_left_out():
    async def scenario() -> tuple[dict[str, pb.Load], int]:
        loads = Loads(Connections(Busy(3)))
        found = await loads.ask([peer("a"), peer("away")])
        return found, loads.of([peer("a")])[0].decoding

    found, known = asyncio.run(scenario())
    assert {peer_id: load.decoding for peer_id, load in found.items()} == {"a": 3}
    assert known == 3


def test_connections_that_were_closed_are_made_anew_for_who_asks_again():
    async def scenario() -> bool:
        connections = Connections(Busy(3))
        first = connections.to(peer("a").endpoint)
        assert connections.to(peer("a").endpoint) is first
        await connections.close()
        return connections.to(peer("a").endpoint) is first

    assert not asyncio.run(scenario())
