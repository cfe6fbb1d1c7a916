"""Which processes of this machine serve a swarm: what they use is not another's."""

from collections.abc import Collection

import psutil


def serving_here(addresses: Collection[str]) -> set[int] | None:
    """Process ids of those that listen at `addresses` (HOST:PORT), as far as these are this machine's and somebody
    listens there; None if they cannot be told, as other users'."""
    ports = {_split(address)[1] for address in addresses if _is_here(_split(address)[0])}
    if not ports:
        return set()
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    listening = [one for one in connections if one.status == psutil.CONN_LISTEN]
    found = {one.pid for one in listening if getattr(one.laddr, "port", 0) in ports}
    return None if None in found else {pid for pid in found if pid}


def _is_here(host: str) -> bool:
    own = {address.address.partition("%")[0] for some in psutil.net_if_addrs().values() for address in some}
    return host in own or host.startswith("127.")


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0
