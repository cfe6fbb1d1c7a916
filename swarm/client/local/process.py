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

import psutil

from swarm import shown
from swarm.errors import InvalidRequest, SwarmError, from_wire
from swarm.forks import Lifeline, Owner
from swarm.wire.peer_names import short_id

LOG = "stderr"  # in a server's home
_MOST_LOG_BYTES = 2**20  # that is kept of one whose folder is removed: the end of it
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
        self._kept_log: str | None = None
        self.pid, self._seen = process.pid, _seen(process.pid)
        self.peer_id: str = ready["peer_id"]
        self.blocks: tuple[int, int] = tuple(ready["blocks"])
        self.port: int = ready["port"]
        self.addresses: list[str] = ready["addresses"]

    def __repr__(self) -> str:
        state = "alive" if self.alive else "ended"
        return f"<LocalServer {short_id(self.peer_id)} {shown.span(self.blocks)}, process {self.pid}, {state}>"

    @property
    def alive(self) -> bool:
        if self._owner.is_here:
            return self._process.poll() is None
        return _lives(self._seen)  # only the process that started it can poll it

    def log(self) -> str:
        """What the server wrote to its standard error; once its swarm is stopped, the end of it. Raises SwarmError in a
        forked child whose parent has stopped the swarm."""
        return read_log(self.home) if self._kept_log is None else self._kept_log

    def keep_log(self) -> None:
        """The folder goes, or is another's: what is there now is what it has written. It has ended."""
        with suppress(SwarmError):  # `log` says it
            self._kept_log = read_log(self.home, _MOST_LOG_BYTES)

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


def _seen(pid: int) -> psutil.Process | None:
    """The process, which is known again after its number has become another's."""
    try:
        return psutil.Process(pid)
    except psutil.Error:  # it has ended
        return None


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def read_log(home: Path, most_bytes: int | None = None) -> str:
    """Of the server that has its files there. most_bytes: of its end; None: all. Raises SwarmError."""
    try:
        with open(home / LOG, "rb") as file:
            if most_bytes is not None:
                file.seek(max(os.fstat(file.fileno()).st_size - most_bytes, 0))
            return file.read().decode(errors="replace")
    except FileNotFoundError as error:
        raise SwarmError("this server's log went with its swarm's folder, when that was stopped") from error
    except OSError as error:
        raise SwarmError(f"the log of a server cannot be read: {error.strerror}") from error


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
    return LocalServer(process, lifeline, _wait_ready(process, home, deadline), home)


def in_python(message: str) -> str:
    """What a server says, with its options as they are called here; but for what is to be typed."""
    parts = re.sub(r"; see [^;]* --help$", "", message).split("`")
    parts[::2] = (
        re.sub(r"--(?!help\b)([a-z]+(?:-[a-z]+)*)", lambda one: one[1].replace("-", "_"), text) for text in parts[::2]
    )
    return "`".join(parts)


def _wait_ready(process: Process, home: Path, deadline: float) -> dict[str, Any]:
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
    status, said = process.wait(), read_log(home).rstrip()
    if status == _USAGE:  # what is wrong is in the last line, after how it is used
        raise InvalidRequest(in_python(said.rpartition("error: ")[2]))
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    if time.monotonic() >= deadline:
        how = "took too long to start, and was ended"
    wrote = f"; the end of what it wrote:\n{said[-2000:]}" if said else ", and wrote nothing"
    raise SwarmError(f"a server {how} before it was ready{wrote}")
