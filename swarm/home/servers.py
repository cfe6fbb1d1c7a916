"""The servers of this user that run on this machine, and how to tell one to end: that one, and never another process
that has its number by now.

A server holds its entry among the nodes open, and locked (see swarm.home.nodes). Whoever has the number that the entry
names and has the entry open is the server, or a child that it has left behind; whoever has only the number is not. A
server in a container has another number there than here: it is not found, and is to be told there.
"""

import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from swarm.home.nodes import running


@dataclass(frozen=True)
class RunningServer:
    """handle: of the process (a pidfd), which stays that process's when its number is another's. Close it."""

    peer_id: str
    pid: int
    handle: int = field(repr=False)

    def end(self) -> None:
        """Ask it to, as SIGTERM does: open sessions may finish. Told a second time, it ends at once."""
        with suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self.handle, signal.SIGTERM)

    def is_gone(self, within_s: float) -> bool:
        """Waits as long."""
        return bool(select.select([self.handle], [], [], within_s)[0])

    def close(self) -> None:
        os.close(self.handle)


def running_servers() -> list[RunningServer]:
    """Those that can be told to end from here, in the order of their numbers."""
    found = []
    for file, node in running():
        if node.is_locked and (handle := _handle(node.pid, file)) is not None:
            found.append(RunningServer(node.peer_id, node.pid, handle))
    return sorted(found, key=lambda server: server.pid)


def _handle(pid: int, file: Path) -> int | None:
    """Of the process with that number; None if it is not the one that holds the file open. In this order: what is found
    out is true of the process that the handle is of."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, OverflowError):  # what the file says is nobody's number
        return None
    if _has_open(pid, file) and not select.select([handle], [], [], 0.0)[0]:
        return handle
    os.close(handle)
    return None


def _has_open(pid: int, file: Path) -> bool:
    try:
        wanted = file.stat()
        return any(_is(Path(entry.path), wanted) for entry in os.scandir(f"/proc/{pid}/fd"))
    except OSError:  # gone, or another user's
        return False


def _is(descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), wanted)
    except OSError:  # closed meanwhile
        return False
