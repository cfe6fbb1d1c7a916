"""The libp2p daemon of one process: a program of its own, which neither outlives this process nor ends unnoticed.

It gets a session of its own, so that what a terminal sends to all that runs in it (Ctrl-C, its closing) reaches this
process alone, which may still want to say goodbye through the daemon. A guard, a shell that waits at the other end of a
pipe, kills the daemon as soon as that pipe breaks: that is, however this process ends.
"""

import asyncio
import logging
import os
import secrets
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO

from hivemind.utils.multiaddr import Multiaddr

from swarm.errors import SwarmError
from swarm.forks import Lifeline

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0  # on a busy machine it takes seconds
STOP_TIMEOUT_S = 2.0
_SOCKETS = Path("/tmp")  # as hivemind's: the names of sockets may have 108 characters
_READY = "Peer ID:"  # what it says first, once it listens
# Standard output is held by the daemon alone, and standard error by its guard: each ends with its holder. $0 is the
# daemon's socket.
_GUARD = '"$@" </dev/null 2>&1 & daemon=$!; exec >/dev/null; read -r end; kill -KILL $daemon; rm -f "$0"'


@dataclass(frozen=True)
class DaemonOptions:
    """What a daemon is started with."""

    host: str = "127.0.0.1"  # that it listens at
    port: int = 0  # 0: a free one
    identity: Path | None = None  # file of its key; None: a new one
    listens: bool = True  # else it only calls others
    routes: bool = True  # answers in libp2p's own routing, by which nodes find the addresses of others

    def arguments(self, control: Multiaddr) -> list[str]:
        """control: where it is to be spoken to."""
        kind = "ip6" if ":" in self.host else "ip4"
        given = {
            "autoRelay": 0,
            "autonat": 0,
            "b": 0,  # a daemon that calls others first ends if nobody answers: that is this process's to decide
            "connManager": 1,
            "dhtServer" if self.routes else "dhtClient": 1,
            "hostAddrs": f"/{kind}/{self.host}/tcp/{self.port}",
            "idleTimeout": f"{START_TIMEOUT_S:.0f}s",
            "listen": control,
            "natPortMap": 0,
            "relay": 1,
            "tls": 1,
        }
        if self.identity:
            given["id"] = self.identity
        if not self.listens:
            given["noListenAddrs"] = 1
        return [f"-{name}={value}" for name, value in given.items()]


class Daemon:
    """One that runs. Lives in the event loop that started it."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: Multiaddr, lifeline: Lifeline):
        """process: of the guard and, below it, the daemon. lifeline: at which the guard waits."""
        self._process, self.control, self._lifeline = process, control, lifeline
        self._last_line = ""
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch_guard())]

    @classmethod
    async def start(cls, options: DaemonOptions) -> "Daemon":
        """Raises SwarmError if it does not come up in START_TIMEOUT_S."""
        socket = _SOCKETS / f"swarm-p2pd-{secrets.token_urlsafe(8)}.sock"
        control, pipe = Multiaddr(f"/unix{socket}"), subprocess.PIPE
        program = files("hivemind.hivemind_cli") / "p2pd"
        environment = {**os.environ, "GOLOG_LOG_LEVEL": os.environ.get("GOLOG_LOG_LEVEL", "error")}
        command = ["/bin/sh", "-c", _GUARD, str(socket), str(program), *options.arguments(control)]
        try:
            lifeline = Lifeline()
        except OSError as error:
            raise SwarmError(f"the libp2p daemon did not start: {error}") from error
        try:
            # Not by the event loop: uvloop leaves copies of the pipes' other ends in the child, and then no pipe ends.
            process = subprocess.Popen(
                command, stdin=lifeline.theirs, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
            )
        except OSError as error:
            lifeline.cut()
            raise SwarmError(f"the libp2p daemon did not start: {error}") from error
        finally:
            lifeline.give()
        self = cls(process, control, lifeline)
        try:
            await self._come_up()
        except BaseException:
            await self.stop()
            raise
        return self

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    async def ended(self) -> None:
        """Wait until it is gone, for whatever reason."""
        await self._ended.wait()

    def end(self) -> None:
        """It is of no use any more; what it leaves behind is for `stop`."""
        if self.is_alive:
            self._ended.set()
            self._kill()

    async def stop(self) -> None:
        """End it, at once."""
        self._lifeline.cut()
        self._kill()
        await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)  # to the end of its output, at which that is closed
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        for pipe in (self._process.stdout, self._process.stderr):
            _let_go(pipe)
        Path(self.control["unix"]).unlink(missing_ok=True)

    # --- how it is watched -------------------------------------------------------------------------------------------

    async def _come_up(self) -> None:
        ready, ended = asyncio.create_task(self._ready.wait()), asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel(), ended.cancel()
        if not self.is_alive:
            raise SwarmError(f"the libp2p daemon did not start: {self._last_line or 'it said nothing'}")
        if not self._ready.is_set():
            raise SwarmError(f"the libp2p daemon did not start within {START_TIMEOUT_S:.0f} s")

    async def _read(self) -> None:
        """Its output must be read, or it waits; the end of that is its own."""
        try:
            async for line in _reader(self._process.stdout):
                self._last_line = line.decode(errors="replace").strip()
                logger.debug("libp2p: %s", self._last_line)
                if self._last_line.startswith(_READY):
                    self._ready.set()
        except ValueError as error:  # a line without an end: nobody would read what comes after it
            logger.warning("the libp2p daemon talks too much: %s", error)
        self.end()

    async def _watch_guard(self) -> None:
        """Without its guard a daemon could be left over."""
        await _reader(self._process.stderr).read()
        self.end()

    def _kill(self) -> None:
        """The guard, and the daemon if it is still there: they are one group."""
        if self._process.returncode is None:  # else the number may be another's by now
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _reader(pipe: IO[bytes] | None) -> asyncio.StreamReader:
    """What comes out of `pipe`, which is closed at its end.

    Not by the event loop's own way with pipes: uvloop closes the descriptor of one, and then the pipe itself, which
    closes what another thread has opened in between under the same number.
    """
    assert pipe
    reader, loop, descriptor = asyncio.StreamReader(), asyncio.get_running_loop(), pipe.fileno()
    os.set_blocking(descriptor, False)

    def read() -> None:
        try:
            data = os.read(descriptor, 65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            reader.feed_data(data)
        else:
            reader.feed_eof()
            _let_go(pipe)

    loop.add_reader(descriptor, read)
    return reader


def _let_go(pipe: IO[bytes] | None) -> None:
    if pipe and not pipe.closed:
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        pipe.close()
