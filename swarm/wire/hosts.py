"""Hosts and multiaddresses as people name them: which to listen at, whether others can be told one. Imports nothing
heavy."""

import errno
import ipaddress
import re
import socket

from swarm import shown
from swarm.errors import InvalidRequest

_MOST_PORTS = 2**16 - 1
_SHOWN = 120  # characters of an address: a whole one, as a rule
PEER_FORM = "/ip4/ADDRESS/tcp/PORT/p2p/PEER_ID, as a server prints it"
_PEER = re.compile(
    r"^/(ip4|ip6|dns|dns4|dns6)/([^/]+)/(tcp|udp)/(\d{1,5})(/quic(-v1)?)?/p2p/[1-9A-HJ-NP-Za-km-z]{20,80}$"
)


def join_address(host: str, port: int) -> str:
    """As gRPC and people write it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listening_address(host: str) -> str:
    """The IP address that `host`, an address or a name like "localhost", stands for; of several, IPv4. Raises
    InvalidRequest if there is none, or others cannot be told it."""
    check_whole(host)
    if _as_ip(host):
        return host
    addresses = _resolve(host, "listen at")
    return next((address for address in addresses if ":" not in address), addresses[0])


def check_whole(host: str) -> None:
    """Raises InvalidRequest for an address that says where it is only together with an interface of the machine that
    uses it."""
    ip = _as_ip(host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_link_local:
        raise InvalidRequest(
            f"{host} is a link-local address: it needs an interface's name, as in fe80::1%eth0, which others cannot be "
            "told; give another of this machine's addresses, or :: for all"
        )


def check_announceable(host: str) -> None:
    """Raises InvalidRequest for a host that is nobody's: a name without an address, or an address that is no host's."""
    check_whole(host)
    for address in [host] if _as_ip(host) else _resolve(host, "announce"):
        ip = ipaddress.ip_address(address)
        if ip.is_unspecified or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
            raise InvalidRequest(
                f"cannot announce {host}: {address} is no single machine's address; give one that others reach this "
                "machine at"
            )


def is_loopback(host: str) -> bool:
    """Whether only processes of the same machine reach it."""
    ip = _as_ip(host)
    return ip.is_loopback if ip else host == "localhost" or host.endswith(".localhost")


def is_elsewhere(host: str) -> bool:
    """Whether it is an IP address that other machines may have, too."""
    ip = _as_ip(host)
    return ip is not None and not (ip.is_loopback or ip.is_unspecified)


def is_usual(address: str) -> bool:
    """Whether an interface's address is one that others may be told: neither loopback nor link-local."""
    ip = _as_ip(address)
    return ip is not None and not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)


def check_peer_address(text: str) -> None:
    """Raises InvalidRequest for what is no multiaddress of a peer."""
    what = f"{shown.text(text, _SHOWN)} is not a peer address"
    match = _PEER.match(text)
    if not match:
        raise InvalidRequest(f"{what}; the form is {PEER_FORM}")
    kind, host, port, ip = match[1], match[2], int(match[4]), _as_ip(match[2])
    if not 0 < port <= _MOST_PORTS:
        raise InvalidRequest(f"{what}: there is no port {port}")
    if kind.startswith("ip") and (ip is None or kind != f"ip{ip.version}"):
        raise InvalidRequest(f"{what}: {host} is no {kind.replace('ip', 'IPv')} address")


def host_in(address: str) -> str:
    """Of a multiaddress, /KIND/HOST/...; empty for what is none."""
    parts = address.split("/")
    return parts[2] if len(parts) > 2 else ""


def is_here(host: str) -> bool:
    """Whether this machine has that address now, as far as can be told."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL  # else there may be no handle left to ask with
    return True


def moved_to(address: str, host: str) -> str:
    """The multiaddress `address`, /KIND/HOST/..., at another host."""
    ip = _as_ip(host)
    kind = "dns" if ip is None else f"ip{ip.version}"
    return "/".join(["", kind, host, *address.split("/")[3:]])


def _as_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _resolve(host: str, what: str) -> list[str]:
    """Its addresses, at least one."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(address[0]) for _, _, _, _, address in found]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise InvalidRequest(f"cannot {what} {host}: {reason}; give an address, or a name that has one") from error
