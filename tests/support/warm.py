"""Processes that start in a tenth of a second: forked from one that has imported everything.

Most of what a server or a verb of the command line does before its first line of work is to import torch and hivemind,
two seconds of a processor. A *nursery* has done that; asked for `python -m swarm.server ...` it forks, and the child
becomes that program: its own process and session, with its own arguments, environment, pipes and exit status.
`start` and `run` are as subprocess.Popen and subprocess.run are, for commands that begin with sys.executable.
What a test says about memory or about imports, it says of processes that were started plainly.
"""

import atexit
import gc
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import IO

# What the nursery imports: whatever servers and verbs use.
PRELOADED = ("swarm.cli.server", "swarm.client.client", "swarm.client.local_swarm", "swarm.market.ledger.sqlite")
_MAX_REQUEST = 2**18
_KILLED_S = 10.0


class WarmProcess:
    """A process that a nursery has forked, with the face of subprocess.Popen."""

    def __init__(self, args: Sequence[str], pid: int, status: int, pipes: list[IO | None]):
        """status: a pipe's end, where the nursery writes how the process has ended; pipes: stdin, stdout, stderr."""
        self.args, self.pid, self.returncode = args, pid, None
        self.stdin, self.stdout, self.stderr = pipes
        self._status = status

    def poll(self) -> int | None:
        return self._wait_for(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises TimeoutExpired."""
        if self._wait_for(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """What it writes until its end. Raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.stdin:
            self.stdin.close()
        outputs: list[str | None] = [None, None]
        readers = [
            threading.Thread(target=_read, args=(pipe, outputs, place), daemon=True)
            for place, pipe in enumerate((self.stdout, self.stderr))
            if pipe
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(deadline and max(deadline - time.monotonic(), 0))
        self.wait(deadline and max(deadline - time.monotonic(), 0))
        return outputs[0], outputs[1]

    def _wait_for(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            said = os.read(self._status, 16)
            self.returncode = int(said) if said else -signal.SIGKILL  # the nursery is gone, and with it all of them
            os.close(self._status)
        return self.returncode


def _read(pipe: IO, outputs: list[str | None], place: int) -> None:
    with pipe:
        outputs[place] = pipe.read()


class Nursery:
    """A process that has imported everything, and this process's line to it. It ends with this process."""

    def __init__(self, preloaded: Sequence[str] = PRELOADED):
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *preloaded],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO | None = None,
        stdout: int | IO | None = None,
        stderr: int | IO | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        text: bool = True,
        start_new_session: bool = False,
    ) -> WarmProcess:
        """As subprocess.Popen, with pipes that carry text."""
        assert command[0] == sys.executable and text, command
        ours: list[IO | None] = []
        theirs: list[int] = []
        borrowed = []
        for number, wanted in enumerate((stdin, stdout, stderr)):
            pipe, end, is_new = _connect(number, wanted)
            ours.append(pipe)
            theirs.append(end)
            borrowed += [end] * is_new
        status, writes_status = os.pipe()
        borrowed.append(writes_status)
        env = os.environ if env is None else env
        request = {"arguments": command[1:], "env": dict(env), "cwd": cwd or os.getcwd()}
        with self._lock:
            socket.send_fds(self._line, [json.dumps(request).encode()], [*theirs, writes_status])
            answer = self._line.recv(16)
        for end in borrowed:
            os.close(end)
        if not answer:
            raise RuntimeError("the nursery has ended")
        return WarmProcess(command, int(answer), status, ours)

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float
    ) -> subprocess.CompletedProcess:
        """As subprocess.run with capture_output and text."""
        process = self.start(command, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, env=env)
        try:
            output, errors = process.communicate(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def close(self) -> None:
        self._line.close()
        self._process.wait(_KILLED_S)


def _connect(number: int, wanted: int | IO | None) -> tuple[IO | None, int, bool]:
    """This process's end, the other's, and whether the latter was opened here."""
    if wanted == subprocess.PIPE:
        read, write = os.pipe()
        return (open(write, "w"), read, True) if number == 0 else (open(read), write, True)
    if wanted == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR), True
    if wanted == subprocess.STDOUT:
        raise ValueError("stderr=STDOUT is not known here")
    return None, number if wanted is None else wanted if isinstance(wanted, int) else wanted.fileno(), False


_nursery: Nursery | None = None


def nursery() -> Nursery:
    """The one of this process, made when first asked for."""
    global _nursery
    if _nursery is None:
        _nursery = Nursery()
        atexit.register(_nursery.close)
    return _nursery


def start(command: Sequence[str], **options: object) -> WarmProcess:
    """As subprocess.Popen, see Nursery.start."""
    return nursery().start(command, **options)


def run(command: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess:
    """As subprocess.run with capture_output and text."""
    return nursery().run(command, timeout=timeout, env=env)


# --- in the nursery --------------------------------------------------------------------------------------------------


def serve(line: socket.socket) -> dict | None:
    """Fork for every request. Returns in a child, with its request; and None in the nursery, once nobody will ask."""
    watched = selectors.DefaultSelector()
    watched.register(line, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            if key.fileobj is not line:
                watched.unregister(key.fileobj)
                _report(key.fileobj, *key.data)
                continue
            data, ends, _, _ = socket.recv_fds(line, _MAX_REQUEST, 4)
            if not data:
                return None
            pid = os.fork()
            if pid == 0:
                others = [ends[3], *_open_ends(watched)]
                watched.close()
                line.close()
                _take_over(ends[:3], others)
                return json.loads(data)
            line.send(str(pid).encode())
            for end in ends[:3]:
                os.close(end)
            watched.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, ends[3]))


def _report(pidfd: int, pid: int, status: int) -> None:
    """Say how a child has ended."""
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):  # whoever started it is not interested
        os.write(status, str(code).encode())
    os.close(status)


def _open_ends(watched: selectors.BaseSelector) -> list[int]:
    """What the nursery keeps open for its other children."""
    keys = [key for key in watched.get_map().values() if key.data]  # all but the line
    return [end for key in keys for end in (key.fd, key.data[1])]


def _take_over(ends: Sequence[int], others: Sequence[int]) -> None:
    """In a child: these are stdin, stdout and stderr, and nothing else is open."""
    os.setsid()
    for number, end in enumerate(ends):
        os.dup2(end, number)
    for end in {*ends, *others} - {0, 1, 2}:
        os.close(end)


def become(request: dict) -> None:
    """Run the program that was asked for, as `python ARGUMENTS` does."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path not in sys.path]
    if "SWARM_LINES" in os.environ:
        import_module("mutation.lines").record_in_server()
    kind, *rest = request["arguments"]
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [kind, *rest]
        sys.path[0] = os.path.dirname(os.path.abspath(kind))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    for name in sys.argv[2:]:
        import_module(name)
    gc.collect()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request:
        become(request)
