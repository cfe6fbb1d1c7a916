"""How processes on one machine find each other: a file for each, with its addresses, which it holds locked while it
lives.

Whether a process lives is told by its lock, which the kernel lets go of with it, and which is seen from every container
that has the folder. What a version before this one wrote is not locked: of such a file the addresses are asked. A file
is deleted by its owner, or when its lock is free; about any other nobody here can judge.
"""

import fcntl
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from swarm.errors import PeerUnreachable
from swarm.home.folder import swarm_home, writing_to
from swarm.program import command, option
from swarm.storage.files import parse_json, without_waiting
from swarm.wire.secret import Secret, refused

ASK_TIMEOUT_S = 0.3  # a process on this machine, or one that shares its disk
ANSWER_TIMEOUT_S = 1.0  # it may be busy
_MAX_BYTES = 65_536
_GREETING = b"\x13/multistream/1.0.0\n"  # with which every libp2p node begins a connection
_PLACE = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/(\d{1,5})/")


@dataclass(frozen=True)
class Node:
    """One entry. swarm: the name of its secret; empty for one that is open to all."""

    pid: int  # as its process has it: in a container, another than here
    swarm: str
    addresses: tuple[str, ...]
    is_locked: bool  # while its process lives; not so with older versions'

    @property
    def peer_id(self) -> str:
        return self.addresses[0].rpartition("/")[2] if self.addresses else ""


def known_addresses(secret: Secret | None = None) -> list[str]:
    """Addresses of the swarm nodes that run on this machine under the same SWARM_HOME and have the same secret."""
    wanted = secret.name if secret else ""
    return [address for _, node in running() for address in node.addresses if node.swarm == wanted]


def peers_from_environment() -> list[str]:
    """The addresses in SWARM_PEERS, separated by spaces or commas."""
    return os.environ.get("SWARM_PEERS", "").replace(",", " ").split()


def find_ledger(where: str | None) -> str | None:
    """Where a server is paid, and what peers have at stake is looked up: `where`, or SWARM_LEDGER; None: nowhere, also
    for "none"."""
    where = where or os.environ.get("SWARM_LEDGER")
    return None if where in (None, "", "none") else where


def find_swarm(peers: Sequence[str] | None, secret: Secret | None = None) -> list[str]:
    """Addresses of swarm members: `peers`, or SWARM_PEERS, or a swarm on this machine.

    Raises PeerUnreachable if there is none, PrivateSwarm if there are only those of other secrets.
    """
    addresses = list(peers or peers_from_environment() or known_addresses(secret))
    if addresses:
        return addresses
    if any(node.swarm for _, node in running()):
        raise refused(secret)
    raise PeerUnreachable(
        f"no swarm found on this machine; start one with `{command('server')}`, or give the address of a peer "
        f"({option('peers')} or SWARM_PEERS)"
    )


@contextmanager
def announced(addresses: Sequence[str], secret: Secret | None = None) -> Iterator[None]:
    """Let other processes on this machine find `addresses` while the context lasts and this process lives. Raises
    SwarmError if SWARM_HOME cannot be used."""
    pid = os.getpid()
    # Older versions look up the process, and delete the file if they do not find it.
    entry = {
        "pid": pid, "started": psutil.Process(pid).create_time(), "addresses": list(addresses),
        "swarm": secret.name if secret else "", "locked": True,
    }  # fmt: skip
    # The process id alone would not do: each of two containers has a process 1.
    file = swarm_home() / "nodes" / f"{pid}-{secrets.token_hex(8)}.json"
    with writing_to(file.parent):
        held = _write_locked(file, json.dumps(entry))
    with held:
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _write_locked(file: Path, text: str) -> IO[str]:
    """Readers see the whole file, and it locked, or none. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    held = open(scratch, "w")  # noqa: SIM115 - for as long as the process lives
    try:
        with suppress(OSError):  # a disk that knows no locks: then nobody takes it for free either
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.write(text)
        held.flush()
        scratch.rename(file)
    except BaseException:
        held.close()
        scratch.unlink(missing_ok=True)
        raise
    return held


def running() -> list[tuple[Path, Node]]:
    """Those that live, as far as can be told, with their files."""
    return [(file, node) for file in sorted((swarm_home() / "nodes").glob("*.json")) if (node := _running_in(file))]


def _running_in(file: Path) -> Node | None:
    try:
        with open(file, "rb", opener=without_waiting) as opened:
            node = _parse(opened.read(_MAX_BYTES))
            if node is None:
                return None
            if not node.is_locked:
                return node if any(is_node_at(address) for address in node.addresses) else None
            if not is_unlocked(opened):
                return node
            file.unlink(missing_ok=True)  # left behind by a process that was killed
    except OSError:  # gone meanwhile, or not for this user to read
        pass
    return None


def _parse(data: bytes) -> Node | None:
    try:
        entry = parse_json(data)
        swarm, addresses, pid = entry.get("swarm", ""), entry["addresses"], entry.get("pid")
        if not isinstance(swarm, str) or not all(isinstance(address, str) for address in addresses):
            return None
        return Node(pid if isinstance(pid, int) else 0, swarm, tuple(addresses), entry.get("locked") is True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_unlocked(file: IO[Any]) -> bool:
    """Whether nobody holds it locked. A disk that knows no locks does not tell."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_node_at(address: str) -> bool:
    """Whether a libp2p node listens there, and not just anything: the port may be another program's by now. address: a
    multiaddress. Asks the network."""
    if not (place := _PLACE.search(address)):
        return False
    try:
        with socket.create_connection((place[1], int(place[2])), ASK_TIMEOUT_S) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            return connection.recv(len(_GREETING), socket.MSG_WAITALL) == _GREETING
    except (OSError, OverflowError, UnicodeError):
        return False
