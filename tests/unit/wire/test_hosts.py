"""Which addresses are this machine's."""

import errno
import os
import socket

import pytest

from swarm.errors import InvalidRequest
from swarm.wire.hosts import check_peer_address, is_here


@pytest.mark.parametrize(("host", "here"), [("127.0.0.1", True), ("192.0.2.7", False), ("2001:db8::7", False)])
def test_whether_an_address_is_this_machines(host, here):
    assert is_here(host) == here


def test_whoever_has_no_handle_left_to_ask_with_stays_where_he_is(monkeypatch):
    def used_up(*arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", used_up)
    assert is_here("192.0.2.7")


PEER = "p2p/16Uiu2HAm2GyVsTcR5M5h8KqkWQFQReyhpePEWW3Fy2nmt6EuqwQG"


@pytest.mark.parametrize("place", ["ip4/127.0.0.1/tcp/1", "ip6/::1/tcp/65535", "dns4/a.example/udp/4001/quic-v1"])
def test_an_address_of_a_peer(place):
    check_peer_address(f"/{place}/{PEER}")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("ip4/127.0.0.1/tcp/99999", "there is no port 99999"),
        ("ip4/127.0.0.1/tcp/0", "there is no port 0"),
        ("ip4/999.0.0.1/tcp/4001", "999.0.0.1 is no IPv4 address"),
        ("ip6/127.0.0.1/tcp/4001", "127.0.0.1 is no IPv6 address"),
        ("ip4/::1/tcp/4001", "::1 is no IPv4 address"),
    ],
)
def test_what_no_peer_can_have_for_an_address_is_not_tried(place, why):
    with pytest.raises(InvalidRequest, match=f"is not a peer address: {why}"):
        check_peer_address(f"/{place}/{PEER}")
