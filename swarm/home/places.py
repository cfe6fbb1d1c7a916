"""Where a process listened the last time: others remember its address, and look for it there.

Ports are kept for each key, so that whoever holds a key's lock has them alone. Ports of one's own choice lie below the
range from which the system gives ports to outgoing calls: else another process's call could sit on one while its owner
restarts, even a call to that very port.
"""

import errno
import json
import logging
import random
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from swarm.errors import AddressInUse
from swarm.home.folder import swarm_home
from swarm.storage.files import read_json, write_whole
from swarm.wire.transport import check_port_free

logger = logging.getLogger(__name__)

_LOWEST = 10_240
_HIGHEST = 32_767  # where the system's range begins by default
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 64
_AT_ITS_END_S = 2.0  # a process whose port this was
_LOOK_S = 0.05


@dataclass(frozen=True)
class Ports:
    """0: not known."""

    port: int = 0  # of gRPC
    dht_port: int = 0  # of the directory's node


class Place:
    """Where one process listens, and did the last time: a file."""

    def __init__(self, file: Path):
        """One that cannot be read is as good as none."""
        self._file = file
        self._before = self.ports = _read(file)

    @classmethod
    def of(cls, peer_id: str) -> "Place":
        """Of the process that holds this peer's key."""
        return cls(swarm_home() / "places" / f"{peer_id}.json")

    def choose(self, host: str, port: int | None, dht_port: int | None, *, is_known_elsewhere: bool) -> None:
        """Take the ports to listen at: those asked for (0: any), or those from before. is_known_elsewhere: whether the
        swarm has other members, who tell where this one is now. Raises AddressInUse."""
        chosen = choose_port(host, port, self._before.port, "this server", may_move=True)
        dht_port = choose_port(
            host, dht_port, self._before.dht_port, "this swarm's directory", may_move=is_known_elsewhere, but=chosen
        )
        self.ports = Ports(chosen, dht_port)

    def remember(self, **ports: int) -> None:
        """Where it listens now: port, dht_port, or both. Never fails: whoever cannot write goes on without."""
        self.ports = replace(self.ports, **ports)
        if self.ports == self._before:
            return
        self._before = self.ports
        try:
            write_whole(self._file, json.dumps(asdict(self.ports)).encode())
        except OSError as error:
            logger.warning("where this process listens cannot be remembered for its next start: %s", error)


def choose_port(host: str, asked: int | None, before: int, what: str, *, may_move: bool, but: int = 0) -> int:
    """The port to listen on: `asked` (0: any), or else the one from `before` (0: none), or else any.

    what: it is for, as in "the directory". may_move: whether those who knew it at the port before find it elsewhere,
    too. but: not that one. May wait a moment. Raises AddressInUse if the port asked for is taken, or the one before and
    `may_move` is not given.
    """
    if asked or (asked is None and before):
        try:
            _await_free(host, asked or before)
            return asked or before
        except AddressInUse as error:
            if asked:
                raise
            if not may_move:
                raise AddressInUse(
                    f"port {before}, where others know {what}, cannot be used now ({error}); free it, or choose "
                    "another on the command line and tell them"
                ) from error
            logger.warning("port %d, where %s was before, cannot be used now; another one is taken", before, what)
    return free_port(host, but)


def free_port(host: str, but: int = 0) -> int:
    """One that no outgoing call will take meanwhile, and not `but`; 0, any, if there is none. Raises AddressInUse for a
    host that is not this machine."""
    check_port_free(host, 0)
    for port in random.sample(range(_LOWEST, _highest() + 1), _TRIES):
        with suppress(AddressInUse):
            check_port_free(host, port)
            if port != but:
                return port
    return 0


def _await_free(host: str, port: int) -> None:
    """The process that had it may have been killed a moment ago. Raises AddressInUse if it is still taken then."""
    deadline_s = time.monotonic() + _AT_ITS_END_S
    while True:
        try:
            return check_port_free(host, port)
        except AddressInUse as error:
            if getattr(error.__cause__, "errno", None) != errno.EADDRINUSE or time.monotonic() >= deadline_s:
                raise
        time.sleep(_LOOK_S)


def _highest() -> int:
    try:
        lowest_given = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _HIGHEST
    return lowest_given - 1 if lowest_given > _LOWEST + _TRIES else 65_535


def _read(file: Path) -> Ports:
    try:
        found = Ports(**read_json(file))
    except (OSError, ValueError, TypeError):
        return Ports()
    return (
        found if all(isinstance(port, int) and 0 <= port < 65_536 for port in (found.port, found.dht_port)) else Ports()
    )
