"""One server process of a LocalSwarm."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarm import shown
from swarm.errors import InvalidRequest, SwarmError, from_wire
from swarm.forks import Lifeline, Owner
from swarm.wire.peer_names import short_id

LOG = "stderr"  # in a server's home
_KILLED_S = 10.0  # until one that was killed is gone, on a busy machine
_USAGE = 2  # exit status of a command whose arguments are wrong

Process = subprocess.Popen[str]
Launched = tuple[Process, Lifeline, Path]  # the last: its SWARM_HOME


class LocalServer:
    """One server process."""

    def __init__(self, process: Process, lifeline: Lifeline, ready: dict[str, Any], home: Path):
        """lifeline: it ends with that. home: its SWARM_HOME."""
        self._process, self._lifeline, self.home = process, lifeline, home
        self._owner = Owner()
        self.pid = process.pid
        self.peer_id: str = ready["peer_id"]
        self.blocks: tuple[int, int] = tuple(ready["blocks"])
        self.port: int = ready["port"]
        self.addresses: list[str] = ready["addresses"]

    def __repr__(self) -> str:
        state = "alive" if self.alive else "ended"
        return f"<LocalServer {short_id(self.peer_id)} {shown.span(self.blocks)}, process {self.pid}, {state}>"

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        """What the server wrote to its standard error."""
        return (self.home / LOG).read_text()

    def stop(self, timeout_s: float = 40.0) -> None:
        """Drain and leave: open sessions may finish, no new ones are taken. timeout_s: before it is killed; more than
        its `drain`."""
        self._owner.check("server")
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._close_pipes()

    def kill(self) -> None:
        """SIGKILL: the server says nothing to anybody."""
        self._owner.check("server")
        kill(self._process)
        self._close_pipes()

    def _close_pipes(self) -> None:
        self._lifeline.cut()
        if self._process.stdout:
            self._process.stdout.close()


def surroundings() -> dict[str, str]:
    """This process's environment, without what a user keeps in it for commands that are typed: where a server here is
    paid, and all else, is said by an option."""
    kept = {name: value for name, value in os.environ.items() if name != "SWARM_LEDGER"}
    return {**kept, "SWARM_CONFIG": ""}


def kill(process: Process) -> None:
    """Also one that is gone."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_S)


def abandon(launched: Sequence[Launched]) -> None:
    """End those that are not ready yet, or nobody wants."""
    for process, lifeline, _ in launched:
        lifeline.cut()
        kill(process)


def adopt(launched: Launched, deadline: float) -> LocalServer:
    """The server, once it is ready; deadline: by time.monotonic(). Raises the error that it reports instead."""
    process, lifeline, home = launched
    return LocalServer(process, lifeline, _wait_ready(process, home / LOG, deadline), home)


def in_python(message: str) -> str:
    """What a server says, with its options as they are called here; but for what is to be typed."""
    parts = re.sub(r"; see [^;]* --help$", "", message).split("`")
    parts[::2] = (
        re.sub(r"--(?!help\b)([a-z]+(?:-[a-z]+)*)", lambda one: one[1].replace("-", "_"), text) for text in parts[::2]
    )
    return "`".join(parts)


def _wait_ready(process: Process, log: Path, deadline: float) -> dict[str, Any]:
    timer = threading.Timer(max(deadline - time.monotonic(), 0), process.kill)
    timer.start()
    try:
        for line in process.stdout or ():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "ready":
                return event
            if event["event"] == "error":
                raise from_wire(event["code"], in_python(event["message"]))
    finally:
        timer.cancel()
    status, said = process.wait(), log.read_text().rstrip()
    if status == _USAGE:  # what is wrong is in the last line, after how it is used
        raise InvalidRequest(in_python(said.rpartition("error: ")[2]))
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    if time.monotonic() >= deadline:
        how = "took too long to start, and was ended"
    wrote = f"; the end of what it wrote:\n{said[-2000:]}" if said else ", and wrote nothing"
    raise SwarmError(f"a server {how} before it was ready{wrote}")
