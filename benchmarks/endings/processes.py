"""Programs as users start them: as a process of their own, or typed into a real terminal, which takes tmux."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

LOOK_S = 0.02
MARK = "ENDINGS_OF"  # in the environment of all that belongs to one program


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def living(home: Path) -> list[int]:
    """A program that was started with this home, and all that was started by it: servers of its own, too."""
    wanted, found = f"{MARK}={home}\0".encode(), []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes() + b"\0":
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if is_alive(pid)]


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def wait_for(condition: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds until it comes true; None if it does not."""
    started = time.monotonic()
    while time.monotonic() - started < limit_s:
        if condition():
            return time.monotonic() - started
        time.sleep(LOOK_S)
    return None


class Program:
    """`python ARGUMENTS`, with a SWARM_HOME of its own."""

    def __init__(self, home: Path, arguments: Sequence[str]):
        self.home, self.arguments = home, arguments
        home.mkdir(parents=True, exist_ok=True)
        self.output = home / "output"
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes] | None":
        with open(self.output, "wb") as output:
            return subprocess.Popen(
                [sys.executable, *self.arguments], stdin=subprocess.PIPE, stdout=output, stderr=output,
                env={**os.environ, **self._marks()}, start_new_session=True,
            )  # fmt: skip

    def _marks(self) -> dict[str, str]:
        return {"SWARM_HOME": str(self.home), MARK: str(self.home)}

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def status(self) -> int | None:
        """As a shell has it; None as long as it runs."""
        assert self._process
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def says(self, text: str) -> bool:
        return text in self.output.read_text(errors="replace")

    def daemons(self) -> list[int]:
        """The libp2p daemons below it."""
        return [pid for pid in living(self.home) if command_line(pid)[0].endswith("p2pd")]

    def clean_up(self) -> list[str]:
        """End what is left over; returns what that was."""
        left = [(pid, " ".join(command_line(pid))[:80]) for pid in living(self.home)]
        for pid, _ in left:
            kill(pid)
        return [name for _, name in left]


def kill(pid: int) -> None:
    """SIGKILL; it may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class TypedProgram(Program):
    """The same, typed into an interactive shell in a terminal, whose window can be closed."""

    def _start(self) -> None:
        self._window = f"w{self.home.name}"
        environment = {**self._marks(), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        command = shlex.join([sys.executable, *self.arguments])
        # The outer shell is told the same, and stays to see how its child ends.
        inner = f"trap : INT TERM HUP; {command}; echo $? > {self.home}/status"
        _tmux("new-window", "-d", "-t", SESSION, "-n", self._window, "bash --norc -i")
        _tmux("send-keys", "-t", f"{SESSION}:{self._window}", f"env {settings} sh -c {shlex.quote(inner)}", "Enter")

    @property
    def pid(self) -> int:
        """0: not started yet."""
        wanted = list(self.arguments)
        return next((pid for pid in living(self.home) if command_line(pid)[1 : 1 + len(wanted)] == wanted), 0)

    @property
    def status(self) -> int | None:
        try:
            return int((self.home / "status").read_text())
        except (OSError, ValueError):
            return None

    def says(self, text: str) -> bool:
        window = f"{SESSION}:{self._window}"
        return text in subprocess.run(["tmux", "-L", SOCKET, "capture-pane", "-p", "-t", window], **_QUIET).stdout

    def type(self, keys: str) -> None:
        _tmux("send-keys", "-t", f"{SESSION}:{self._window}", keys)

    def close_terminal(self) -> None:
        _tmux("kill-window", "-t", f"{SESSION}:{self._window}")

    def clean_up(self) -> list[str]:
        left = super().clean_up()
        subprocess.run(["tmux", "-L", SOCKET, "kill-window", "-t", f"{SESSION}:{self._window}"], **_QUIET)
        return left


SOCKET = SESSION = f"endings-{os.getpid()}"
_QUIET = {"capture_output": True, "text": True}


def _tmux(*arguments: str) -> None:
    subprocess.run(["tmux", "-L", SOCKET, *arguments], check=True)


class Terminals:
    """There are some while this lasts, if tmux is installed."""

    def __init__(self) -> None:
        self.are_here = shutil.which("tmux") is not None

    def __enter__(self) -> "Terminals":
        if self.are_here:
            _tmux("new-session", "-d", "-s", SESSION, "-x", "200", "-y", "50", "sleep 100000")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.are_here:
            subprocess.run(["tmux", "-L", SOCKET, "kill-server"], **_QUIET)
