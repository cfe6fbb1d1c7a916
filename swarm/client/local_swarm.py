"""`swarm.LocalSwarm`: real server processes on this machine, for trying things out and for tests."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Unpack

from swarm import kinds, shown
from swarm.client.background import wait
from swarm.client.server_options import FLAGS, ServerKeywords, checked, ranges
from swarm.client.signatures import keywords
from swarm.errors import InvalidRequest, SwarmError, from_wire
from swarm.forks import Lifeline, Owner, freeze_in_child
from swarm.peers.directory import Directory
from swarm.wire.peer_names import short_id
from swarm.wire.secret import find_secret

START_TIMEOUT_S = 120.0
_KILLED_S = 10.0  # until one that was killed is gone, on a busy machine
_LOG = "stderr"  # in a server's home
_USAGE = 2  # exit status of a command whose arguments are wrong


_Process = subprocess.Popen[str]


class LocalServer:
    """One server process."""

    def __init__(self, process: _Process, lifeline: Lifeline, ready: dict[str, Any], home: Path):
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
        return (self.home / _LOG).read_text()

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
        _kill(self._process)
        self._close_pipes()

    def _close_pipes(self) -> None:
        self._lifeline.cut()
        if self._process.stdout:
            self._process.stdout.close()


class LocalSwarm:
    """Server processes for `blocks` on loopback, and a directory node of their own.

        with swarm.LocalSwarm("demo", blocks=["0:10", "10:20", "20:30"]) as local:
            client = swarm.Client("demo", peers=local.peers)

    Nothing of it outlives the context, nor this process: a server stops when the pipe to its parent breaks. A forked
    child has no part in it.
    """

    program: Sequence[str] = ("-m", "swarm.server")  # what Python runs as a server
    start_process: Callable[..., _Process] = staticmethod(subprocess.Popen)  # a way of a subclass's own

    @keywords(ServerKeywords, defaults=FLAGS)
    def __init__(
        self,
        model: str | os.PathLike[str] = "demo",
        blocks: str | Sequence[str | tuple[int, int]] = ("0:10", "10:20", "20:30"),
        *,
        secret: str | None = None,
        **options: Unpack[ServerKeywords],
    ):
        """blocks: a range for each server, like "0:10" or (0, 10), or "auto" for one that chooses for itself.
        secret: of a private swarm; by default SWARM_SECRET, if there is one.
        options: given to every server as on its command line: dtype="float32", threads=1, kv_memory="256M"; True for a
            flag, as no_receipts=True. With stake="0.5", each gets so many credits to stake: new ones if this user made
            the ledger, else from its own.
        Raises InvalidRequest.
        """
        self.model, self._blocks, self._options = kinds.path("model", model), ranges(blocks), checked(options)
        self.servers: list[LocalServer] = []
        self.peers: list[str] = []
        self._secret = find_secret(kinds.optional(kinds.hidden_text)("secret", secret))
        # Not an argument: those are for every user of this machine to see.
        self._environment = {} if secret is None else {"SWARM_SECRET": secret}
        self._directory: Directory | None = None
        self._folder: Path | None = None  # of the servers' homes
        self._owner = Owner()
        freeze_in_child(self)

    def __repr__(self) -> str:
        blocks = ", ".join(shown.span(server.blocks) for server in self.servers) or "not running"
        return f"<LocalSwarm of {self.model}: {blocks}>"

    def __enter__(self) -> "LocalSwarm":
        self._folder = Path(tempfile.mkdtemp(prefix="swarm-"))
        weakref.finalize(self, _remove, self._folder, self._owner)  # for programs that do not close it
        try:
            # The directory has a node here, so that the swarm's address outlives any of its servers.
            self._directory = wait(Directory.join(secret=self._secret))
            self.peers = wait(self._directory.addresses())
            launched = [self._launch(blocks, {}) for blocks in self._blocks]  # all at once: they load side by side
            self._adopt(launched)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @keywords(ServerKeywords, defaults=FLAGS)
    def start(
        self, blocks: str | tuple[int, int], *, model: str | None = None, **options: Unpack[ServerKeywords]
    ) -> LocalServer:
        """Add a server for `blocks`. model: other files than the others'."""
        (one,) = ranges([blocks])
        return self._adopt([self._launch(one, checked(options), model=model)])[0]

    def restart(self, server: LocalServer) -> LocalServer:
        """Start a server that has ended once more, with its key and all that it kept, as `servers` then has it."""
        if server not in self.servers:
            raise InvalidRequest(f"{server!r} is no server of this swarm")
        place = self.servers.index(server)
        again = self._adopt([self._launch(f"{server.blocks[0]}:{server.blocks[1]}", {}, server.home)])[0]
        self.servers[place] = self.servers.pop()
        return again

    def close(self) -> None:
        """Stop everything, at once."""
        if not self._owner.is_here:
            return
        for server in self.servers:
            server.kill()
        if self._directory:
            wait(self._directory.leave())
            self._directory = None
        if self._folder:
            _remove(self._folder, self._owner)
            self._folder = None

    def _launch(
        self, blocks: str, options: dict[str, str | bool], home: Path | None = None, model: str | None = None
    ) -> "_Launched":
        """home: its SWARM_HOME, by default a new one."""
        self._owner.check("swarm")
        if self._folder is None:
            raise SwarmError("this swarm was not entered, or is closed; use it in a `with` statement")
        folder = home or Path(tempfile.mkdtemp(dir=self._folder))
        command = [sys.executable, *self.program, "--model", model or self.model, "--json", "--exit-with-parent"]
        command += ["--peers", *self.peers]
        if blocks != "auto":
            command += ["--blocks", blocks]
        options = {**self._options, **options}
        if home is None and "stake" in options:
            if "ledger" not in options:
                raise InvalidRequest("a stake is put down on a ledger; say which, with ledger=")
            import_module("swarm.client.assembly_money").endow(folder, str(options["ledger"]), str(options["stake"]))
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", *([] if isinstance(value, bool) else [value])]
        lifeline = Lifeline()
        with open(folder / _LOG, "a") as log:
            process = self.start_process(
                command,
                stdin=lifeline.theirs,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**_surroundings(), **self._environment, "SWARM_HOME": str(folder)},
                start_new_session=True,  # Ctrl-C in a terminal is for the parent, which then stops its servers
            )
        lifeline.give()
        return process, lifeline, folder

    def _adopt(self, launched: "Sequence[_Launched]") -> list[LocalServer]:
        """Wait until all of `launched` are ready. Raises what the first that is not says; none is left behind."""
        deadline = time.monotonic() + START_TIMEOUT_S
        servers = []
        try:
            for process, lifeline, home in launched:
                servers.append(LocalServer(process, lifeline, _wait_ready(process, home / _LOG, deadline), home))
        except BaseException:
            for process, lifeline, _ in launched:
                lifeline.cut()
                _kill(process)
            raise
        self.servers += servers
        return servers


_Launched = tuple[_Process, Lifeline, Path]  # the last: its SWARM_HOME


def _surroundings() -> dict[str, str]:
    """This process's environment, without what a user keeps in it for commands that are typed: where a server here is
    paid, and all else, is said by an option."""
    kept = {name: value for name, value in os.environ.items() if name != "SWARM_LEDGER"}
    return {**kept, "SWARM_CONFIG": ""}


def _kill(process: _Process) -> None:
    """Also one that is gone."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_S)


def _remove(folder: Path, owner: Owner) -> None:
    if owner.is_here:
        shutil.rmtree(folder, ignore_errors=True)


def _in_python(message: str) -> str:
    """What a server says, with its options as they are called here; but for what is to be typed."""
    parts = re.sub(r"; see [^;]* --help$", "", message).split("`")
    parts[::2] = (re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda one: one[1].replace("-", "_"), text) for text in parts[::2])
    return "`".join(parts)


def _wait_ready(process: _Process, log: Path, deadline: float) -> dict[str, Any]:
    """The server's "ready" event. Raises the error that it reports instead."""
    timer = threading.Timer(max(deadline - time.monotonic(), 0), process.kill)
    timer.start()
    try:
        for line in process.stdout or ():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "ready":
                return event
            if event["event"] == "error":
                raise from_wire(event["code"], _in_python(event["message"]))
    finally:
        timer.cancel()
    if process.wait() == _USAGE:  # what is wrong is in the last line, after how it is used
        raise InvalidRequest(_in_python(log.read_text().rstrip().rpartition("error: ")[2]))
    raise SwarmError(f"a server ended before it was ready:\n{log.read_text()[-2000:]}")
