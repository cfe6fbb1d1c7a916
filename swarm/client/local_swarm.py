"""`swarm.LocalSwarm`: real server processes on this machine, for trying things out and for tests."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

from swarm import kinds, shown
from swarm.client.local import process
from swarm.client.local.process import Launched, LocalServer
from swarm.client.local.progress import say
from swarm.client.local.running import Running, Settings, replace
from swarm.client.server_options import FLAGS, ServerKeywords, checked, ranges
from swarm.client.signatures import keywords
from swarm.errors import InvalidRequest, SwarmError
from swarm.forks import Lifeline, Owner, freeze_in_child
from swarm.loading import load
from swarm.wire.secret import find_secret

START_TIMEOUT_S = 120.0


class LocalSwarm:
    """Server processes for `blocks` on loopback, and a directory node of their own.

        with swarm.LocalSwarm("demo", blocks=["0:10", "10:20", "20:30"]) as local:
            client = swarm.Client("demo", peers=local.peers)

    or, in a notebook, where a `with` statement does not reach from one cell to the next:

        local = swarm.LocalSwarm("demo")
        local.start()
        client = swarm.Client("demo")  # finds the LocalSwarm of its model that was started last in this process
        ...
        local.stop()

    Nothing of it outlives the context or `stop`, the last variable that refers to it, nor this process, however that
    ends: a server stops when the pipe to its parent breaks. `start` stops what another `start` with the same arguments
    has started, so that a cell may be run again; in a notebook, with whatever arguments, if of the same model: two at
    once are for `with`. A forked child has no part in it.
    """

    program: Sequence[str] = ("-m", "swarm.server")  # what Python runs as a server

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
        self._secret = find_secret(kinds.optional(kinds.hidden_text)("secret", secret))
        # Not an argument: those are for every user of this machine to see.
        self._environment = {} if secret is None else {"SWARM_SECRET": secret}
        self._running: Running | None = None
        self._owner, self._starting = Owner(), threading.RLock()
        freeze_in_child(self)

    def __repr__(self) -> str:
        blocks = ", ".join(shown.span(one.blocks) + ("" if one.alive else " ended") for one in self.servers)
        is_open = self._running is not None and self._running.is_open
        ended = "stopped" if blocks else "not running; start() starts it"
        state = (blocks or "no servers yet") if is_open else ended
        return f"<LocalSwarm of {self.model}: {state}>"

    def __enter__(self) -> "LocalSwarm":
        return self._start(kept=False)

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def peers(self) -> list[str]:
        """Addresses, for clients and other servers. Raises SwarmError if it does not run."""
        return self._require().peers

    @overload
    def start(self) -> "LocalSwarm": ...
    @overload
    def start(
        self, blocks: str | tuple[int, int], *, model: str | None = None, **options: Unpack[ServerKeywords]
    ) -> LocalServer: ...
    @keywords(ServerKeywords, defaults=FLAGS)
    def start(
        self,
        blocks: str | tuple[int, int] | None = None,
        *,
        model: str | None = None,
        **options: Unpack[ServerKeywords],
    ) -> "LocalSwarm | LocalServer":
        """Start the swarm, all its servers, and return it; of one that runs, those servers that have ended.

        With `blocks`, add a server for these to a swarm that runs, and return the server. model: other files than the
        others'. options: beside those of the swarm.
        """
        if blocks is None:
            if model is not None or options:
                raise InvalidRequest("which blocks is the new server to have? Options of all are told to LocalSwarm")
            return self._start(kept=True)
        (one,) = ranges([blocks])
        return self._adopt([self._launch(one, checked(options), model=model)])[0]

    def restart(self, server: LocalServer) -> LocalServer:
        """Start a server once more, with its key and all that it kept, as `servers` then has it. One that lives is
        stopped first, as by its `stop`."""
        self._owner.check("swarm")
        with self._starting:
            if server not in self.servers:
                raise InvalidRequest(f"{server!r} is no server of this swarm")
            self._require()
            server.stop()  # also of one that has ended: its key is free, and its pipes are closed
            server.keep_log()
            again = self._adopt([self._launch(shown.span(server.blocks), {}, server.home)])[0]
            self.servers.remove(again)
            self.servers[self.servers.index(server)] = again
        return again

    def stop(self) -> None:
        """Stop everything, at once. May be called again; `start` then starts other servers."""
        if not self._owner.is_here:
            return
        running, self._running = self._running, None
        if running:
            running.close()

    def close(self) -> None:
        """The same as `stop`."""
        self.stop()

    def _start(self, kept: bool) -> "LocalSwarm":
        """kept: see Settings."""
        self._owner.check("swarm")
        with self._starting:
            if self._running and self._running.is_open:
                for server in [one for one in self.servers if not one.alive]:
                    say(f"starting the server of blocks {shown.span(server.blocks)} again, which has ended")
                    self.restart(server)
                return self
            name = self._secret.name if self._secret else ""
            settings = Settings(self.model, tuple(self._blocks), tuple(sorted(self._options.items())), name, kept)
            replace(settings)
            self._running = running = Running(settings, self._secret)
            running.end_with(self)
            self.servers = running.servers
            say(f"starting {shown.count(len(self._blocks), 'server')} of {self.model}: {', '.join(self._blocks)}")
            try:
                running.join()
                self._adopt(self._launch(blocks, {}) for blocks in self._blocks)
            except BaseException:
                self.stop()
                raise
        return self

    def _require(self) -> Running:
        if self._running is None or not self._running.is_open:
            raise SwarmError("this LocalSwarm is not running; call its start(), or use it in a `with` statement")
        return self._running

    def _launch(
        self, blocks: str, options: dict[str, str | bool], home: Path | None = None, model: str | None = None
    ) -> Launched:
        """home: its SWARM_HOME, by default a new one; options, model: of a server that starts in its home once more,
        those that it has had."""
        self._owner.check("swarm")
        running = self._require()
        folder = home or Path(tempfile.mkdtemp(dir=running.folder.path))
        options, model = running.asked.setdefault(folder, (options, model))
        command = [sys.executable, *self.program, "--model", model or self.model, "--json", "--exit-with-parent"]
        command += ["--peers", *running.peers]
        if blocks != "auto":
            command += ["--blocks", blocks]
        options = {**self._options, **options}
        if home is None and "stake" in options:
            if "ledger" not in options:
                raise InvalidRequest("a stake is put down on a ledger; say which, with ledger=")
            load("swarm.client.assembly_money").endow(folder, str(options["ledger"]), str(options["stake"]))
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", *([] if isinstance(value, bool) else [value])]
        lifeline = Lifeline()
        try:
            with open(folder / process.LOG, "a") as log:
                started = self.start_process(
                    command,
                    stdin=lifeline.theirs,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**process.surroundings(), **self._environment, "SWARM_HOME": str(folder)},
                    start_new_session=True,  # Ctrl-C in a terminal is for the parent, which then stops its servers
                )
        except BaseException:
            lifeline.cut()
            raise
        finally:
            lifeline.give()
        launched = started, lifeline, folder
        running.add(launched)
        return launched

    def start_process(self, command: list[str], **options: Any) -> process.Process:
        """A process of a server, as subprocess.Popen starts it. Subclasses may have a way of their own."""
        return subprocess.Popen(command, **options)

    def _adopt(self, launches: Iterable[Launched]) -> list[LocalServer]:
        """Launch all, which load side by side, and wait until they are ready. Raises what the first that is not says;
        none is left behind."""
        began = time.monotonic()
        launched: list[Launched] = []
        servers: list[LocalServer] = []
        try:
            for one in launches:
                launched.append(one)
            for one in launched:
                server = process.adopt(one, began + START_TIMEOUT_S)
                servers.append(server)
                seconds, left = time.monotonic() - began, len(launched) - len(servers)
                rest = f"; {shown.count(left, 'server')} to come" if left else ""
                say(f"blocks {shown.span(server.blocks)} are served after {seconds:.1f} s{rest}")
        except BaseException:
            process.abandon(launched)
            raise
        self.servers += servers
        return servers
