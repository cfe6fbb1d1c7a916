"""Emulated links, and peers that are reached through one: the tools with which distance and cut cables are tested."""

import os
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import swarm
from harness.link_process import Line, Shape
from harness.links import Network, echo_server, start_behind_links


@pytest.fixture(scope="module")
def network() -> Network:
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def echo() -> int:
    with echo_server() as port:
        yield port


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10_000)), max_size=30), st.floats(0, 0.2))
def test_nothing_is_early_and_the_bandwidth_is_shared_by_all_that_passes(arrivals, one_way_s):
    line, shape = Line(), Shape(one_way_s, bytes_per_s=1e5)
    due, now, sent = [], 0.0, 0
    for gap_s, size in arrivals:
        now, sent = now + gap_s, sent + size
        due.append(line.due(size, now, shape))
        assert due[-1] >= now + one_way_s + size / 1e5 - 1e-9
        assert due[-1] >= one_way_s + sent / 1e5 - 1e-9
    assert due == sorted(due)


def test_bytes_come_through_whole_and_in_order_under_jitter(network, echo):
    link = network.link("127.0.0.1", echo, one_way_s=0.005, jitter_s=0.005)
    message = os.urandom(2_000_000)
    with socket.create_connection((link.host, link.port), timeout=10) as connection:
        sending = threading.Thread(target=connection.sendall, args=[message])
        sending.start()
        assert receive(connection, len(message)) == message
        sending.join()


def test_a_delay_is_kept_in_both_directions(network, echo):
    link = network.link("127.0.0.1", echo)
    with socket.create_connection((link.host, link.port), timeout=10) as connection:
        connection.sendall(b"warm")
        receive(connection, 4)
        link.set_delay(0.1)
        started = time.monotonic()
        connection.sendall(b"x")
        receive(connection, 1)
        assert time.monotonic() - started >= 0.198


def test_a_cut_link_is_silent_until_it_heals_and_loses_nothing(network, echo):
    link = network.link("127.0.0.1", echo)
    with socket.create_connection((link.host, link.port), timeout=0.3) as connection:
        connection.sendall(b"a")
        assert receive(connection, 1) == b"a"
        link.cut()
        connection.sendall(b"b")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        with socket.create_connection((link.host, link.port), timeout=0.3) as late:
            late.sendall(b"c")
            with pytest.raises(TimeoutError):
                late.recv(1)
            link.heal()
            late.settimeout(10)
            assert receive(late, 1) == b"c"
        connection.settimeout(10)
        assert receive(connection, 1) == b"b"


def test_a_reset_closes_what_is_open_and_takes_new_connections(network, echo):
    link = network.link("127.0.0.1", echo)
    with socket.create_connection((link.host, link.port), timeout=10) as connection:
        connection.sendall(b"a")
        receive(connection, 1)
        link.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with socket.create_connection((link.host, link.port), timeout=10) as connection:
        connection.sendall(b"b")
        assert receive(connection, 1) == b"b"


def test_the_end_of_a_stream_passes_after_its_bytes(network, echo):
    link = network.link("127.0.0.1", echo, one_way_s=0.02)
    with socket.create_connection((link.host, link.port), timeout=10) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 100) == b"last words"


def test_peers_are_reached_at_the_address_that_they_announce(network):
    """Two servers behind links, by whose ports alone they are known."""
    with swarm.LocalSwarm("demo", [], threads=1, quant="int4") as local:
        links = start_behind_links(local, network, ["0:15", "15:30"])
        with swarm.Client("demo", local.peers) as client:
            out = client.generate("The capital of France is", max_new_tokens=4)
            assert "Paris" in out.text
            assert [hop.address for hop in out.route] == [f"{link.host}:{link.port}" for link in links]
            links[1].reset()
            assert client.generate("The capital of France is", max_new_tokens=4).token_ids == out.token_ids
