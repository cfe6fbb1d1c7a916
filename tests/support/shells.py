"""Command lines as people type them into a shell, in which `swarm` is `python -m swarm`.

The shell and its pipes are real; what it starts as `swarm` is forked from a process that has imported everything, see
warm.py, and so is there in a tenth of a second.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import warm

_FORWARDED = Path(__file__).with_name("forwarded.py")
_LIMIT_S = 120.0  # of one command, on a busy machine


class Outcome(NamedTuple):
    """Of a command line. status: None: it did not end in time."""

    status: int | None
    output: str
    errors: str


class Shells:
    """Where shells find `swarm`, in a `with` statement. Any number of them may run at once."""

    def __init__(self, folder: Path):
        """folder: for the socket."""
        self._address = str(folder / "swarm.sock")
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> "Shells":
        self._door.bind(self._address)
        self._door.listen(64)
        threading.Thread(target=self._answer, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def run(self, line: str, folder: Path, env: Mapping[str, str]) -> Outcome:
        """The outcome of `line` in bash, in that folder."""
        forwarded = shlex.join([sys.executable, "-I", "-S", str(_FORWARDED), self._address])
        shell = subprocess.Popen(
            ["bash", "-c", f'swarm() {{ {forwarded} "$@"; }}\n{line}'],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            output, errors = shell.communicate(timeout=_LIMIT_S)
            status = shell.returncode
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            output, errors = shell.communicate()
            status = None
        return Outcome(status, *(text.decode(errors="backslashreplace") for text in (output, errors)))

    def _answer(self) -> None:
        with suppress(OSError):  # the end of this
            while True:
                line, _ = self._door.accept()
                threading.Thread(target=_carry_out, args=[line], daemon=True).start()


def _carry_out(line: socket.socket) -> None:
    """One command, whose streams come with it."""
    with line:
        _, ends, _, _ = socket.recv_fds(line, 1, 3)
        with line.makefile("rb") as asked:
            request = json.loads(asked.read())
        process = warm.start(
            [sys.executable, "-m", "swarm", *request["arguments"]],
            stdin=ends[0],
            stdout=ends[1],
            stderr=ends[2],
            env=request["env"],
            cwd=request["cwd"],
        )
        for end in ends:
            os.close(end)
        try:
            status = process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        with suppress(OSError):  # the shell was ended
            line.sendall(str(status if status >= 0 else 128 - status).encode())
