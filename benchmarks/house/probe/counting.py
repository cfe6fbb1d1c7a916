"""How often each function of a package starts, in every thread of this process, by `sys.setprofile`."""

import dis
import json
import socket
import sys
import threading
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

Counts = dict[str, list[int]]  # "swarm/file.py:name:line" -> [times started, times resumed after a wait]


class Calls:
    """Counts from `install` on. What is imported before that is not seen."""

    def __init__(self, root: Path, package: str):
        """root: the checkout; package: the folder in it whose functions count."""
        self._root, self._inside = str(root), str(root / package) + "/"
        self._counts: dict[CodeType, list[int] | None] = {}  # None: it does not count

    def install(self) -> None:
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def snapshot(self) -> Counts:
        found: Counts = {}
        for code, counts in self._counts.copy().items():
            if counts:
                name = (
                    f"{code.co_filename.removeprefix(self._root).lstrip('/')}:{code.co_qualname}:{code.co_firstlineno}"
                )
                started, resumed = found.get(name, (0, 0))
                found[name] = [started + counts[0], resumed + counts[1]]
        return found

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        try:
            counts = self._counts[code]
        except KeyError:
            counts = self._counts[code] = [0, 0] if code.co_filename.startswith(self._inside) else None
        if counts is not None:
            counts[frame.f_lasti > _entry(code)] += 1


@cache
def _entry(code: CodeType) -> int:
    """Where a frame stands when it starts; a generator or coroutine that goes on stands behind it."""
    return next((one.offset for one in dis.get_instructions(code) if one.opname == "RESUME"), 0)


def imported(packages: tuple[str, ...]) -> list[str]:
    """Modules of `packages` that this process has imported."""
    return sorted(name for name in list(sys.modules) if name.startswith(packages))


def answer(path: Path, calls: Calls, packages: tuple[str, ...]) -> None:
    """Tell whoever connects to the socket `path` what was counted until then. Returns at once."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        sys.setprofile(None)
        while True:
            connection, _ = listener.accept()
            with connection:
                found = {"counts": calls.snapshot(), "imported": imported(packages)}
                connection.sendall(json.dumps(found).encode())

    threading.Thread(target=serve, daemon=True).start()


def ask(path: Path) -> dict:
    """What the process behind the socket `path` has counted."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        return json.loads(b"".join(iter(lambda: connection.recv(2**16), b"")))
