"""Where a process listens, the next time too."""

import logging
import socket
import stat
import threading
from pathlib import Path

import pytest

from swarm.errors import AddressInUse
from swarm.home.places import Place, Ports, choose_port


def taken() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_ports_are_those_of_the_last_time(home):
    first = Place.of("me")
    first.choose("127.0.0.1", None, None, is_known_elsewhere=False)
    first.remember(port=first.ports.port, dht_port=first.ports.dht_port)
    again = Place.of("me")
    again.choose("127.0.0.1", None, None, is_known_elsewhere=False)
    assert again.ports == first.ports and 0 not in (again.ports.port, again.ports.dht_port)
    other = Place.of("somebody else")
    other.choose("127.0.0.1", None, None, is_known_elsewhere=False)
    assert other.ports != first.ports
    (file,) = (home / "places").glob("me*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_ports_lie_where_the_system_gives_none_to_outgoing_calls():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(20):
        assert choose_port("127.0.0.1", None, 0, "it", may_move=True) < lowest


def test_a_port_that_was_asked_for_wins_and_is_remembered(home):
    place = Place.of("me")
    place.remember(port=20_001, dht_port=20_002)
    with taken() as listener:
        wanted = listener.getsockname()[1]
    place.choose("127.0.0.1", wanted, None, is_known_elsewhere=False)
    assert place.ports == Ports(wanted, 20_002)
    place.remember(port=wanted)
    assert Place.of("me").ports == Ports(wanted, 20_002)
    assert choose_port("127.0.0.1", 0, 20_001, "it", may_move=False) != 20_001  # any


def test_of_a_port_that_is_taken_it_is_said_and_another_found_where_nobody_relies_on_it(caplog, monkeypatch):
    monkeypatch.setattr("swarm.home.places._AT_ITS_END_S", 0.0)
    with taken() as listener:
        port = listener.getsockname()[1]
        with caplog.at_level(logging.WARNING):
            assert choose_port("127.0.0.1", None, port, "this server", may_move=True) not in (0, port)
        assert len(caplog.messages) == 1 and str(port) in caplog.text
        with pytest.raises(AddressInUse, match=f"port {port}, where others know this ledger"):
            choose_port("127.0.0.1", None, port, "this ledger", may_move=False)
        with pytest.raises(AddressInUse):
            choose_port("127.0.0.1", port, 0, "this server", may_move=True)


def test_a_port_whose_process_was_killed_a_moment_ago_is_waited_for():
    listener = taken()
    port = listener.getsockname()[1]
    threading.Timer(0.3, listener.close).start()
    assert choose_port("127.0.0.1", None, port, "this server", may_move=True) == port


def test_one_process_listens_at_two_ports(monkeypatch):
    monkeypatch.setattr("swarm.home.places.random.sample", lambda ports, count: [*ports][:count])
    place = Place.of("me")
    place.choose("127.0.0.1", None, None, is_known_elsewhere=False)
    assert 0 not in (place.ports.port, place.ports.dht_port) and place.ports.port != place.ports.dht_port


@pytest.mark.parametrize("text", ["", "[]", '{"port": "x"}', '{"port": -1}', '{"port": 70000}', '{"other": 1}', "{"])
def test_a_place_that_cannot_be_read_is_as_good_as_none(home, text):
    (home / "places").mkdir(parents=True)
    (home / "places" / "me.json").write_text(text)
    assert Place.of("me").ports == Ports()


def test_where_nothing_can_be_written_a_server_goes_on_and_says_that_it_will_be_elsewhere(no_home, caplog):
    with caplog.at_level(logging.WARNING):
        Place.of("me").remember(port=1)
    assert "cannot be remembered" in caplog.text
