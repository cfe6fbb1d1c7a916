"""Which addresses are this machine's."""

import errno
import os
import socket
from types import SimpleNamespace

import psutil
import pytest

from swarm.errors import AddressInUse, InvalidRequest, SwarmError
from swarm.wire import transport
from swarm.wire.hosts import check_announceable, check_peer_address, is_here, listening_address
from swarm.wire.transport import announced_host, check_port_free


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


def test_an_address_that_is_too_long_to_be_shown_is_cut_and_its_quote_is_closed():
    with pytest.raises(InvalidRequest, match=r"^'/ip4/x{100,}'… is not a peer address; the form is"):
        check_peer_address("/ip4/" + "x" * 500)


@pytest.fixture
def without_a_route(monkeypatch):
    """A machine whose interfaces lead nowhere else; the test puts addresses on them, by their names."""

    def no_way(there: str, family: socket.AddressFamily) -> str:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def has(**interfaces: list[str]) -> None:
        found = {
            name: [
                SimpleNamespace(family=socket.AF_INET6 if ":" in one else socket.AF_INET, address=one) for one in own
            ]
            for name, own in interfaces.items()
        }
        states = {name: SimpleNamespace(isup=not name.startswith("down")) for name in interfaces}
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
        monkeypatch.setattr(psutil, "net_if_stats", lambda: states)

    monkeypatch.setattr(transport, "_towards", no_way)
    return has


def test_a_machine_without_a_way_elsewhere_is_found_at_the_address_that_it_has(without_a_route, caplog):
    without_a_route(lo=["127.0.0.1", "::1"], down0=["192.0.2.1"], eth0=["169.254.1.2", "fe80::1%eth0", "192.0.2.7"])
    assert announced_host("0.0.0.0") == "192.0.2.7"
    assert not caplog.messages
    with pytest.raises(SwarmError, match="cannot tell this machine's address"):
        announced_host("::")
    without_a_route(eth0=["192.0.2.7", "2001:db8::7"])
    assert announced_host("::") == "2001:db8::7"


def test_of_several_addresses_it_is_said_which_is_taken(without_a_route, caplog):
    without_a_route(eth0=["192.0.2.7"], eth1=["192.0.2.130"])
    assert announced_host("0.0.0.0") == "192.0.2.7"
    assert "has the addresses 192.0.2.7, 192.0.2.130" in caplog.text
    assert "they are told 192.0.2.7; announce names another" in caplog.text


def test_a_machine_that_has_no_address_at_all_is_waited_for(without_a_route):
    without_a_route(lo=["127.0.0.1"])
    with pytest.raises(SwarmError, match="cannot tell this machine's address"):
        announced_host("0.0.0.0")


@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%eth0"])
@pytest.mark.parametrize("use", [listening_address, check_announceable, lambda host: check_port_free(host, 0)])
def test_an_address_that_is_whole_only_with_an_interface_is_told_to_be_that(use, host):
    with pytest.raises(InvalidRequest, match=f"^{host} is a link-local address"):
        use(host)


def test_an_ipv6_address_has_brackets_before_a_port():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=rf"^cannot listen on \[::1\]:{port}: "):
            check_port_free("::1", port)
