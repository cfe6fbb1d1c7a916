"""A disk that can be made to fail in the ways that disks do, by real means: it needs root."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

FAULTS = ("full", "read-only", "locked", "gone", "slow")
SIZE = "48m"
_SHIM = Path(__file__).with_name("slow_disk.c")


class Disk:
    """A tmpfs of its own, seen at `folder` through a bind mount, so that it can go and come back as it was."""

    def __init__(self, base: Path):
        self._store, self.folder, self._switch = base / "store", base / "disk", base / "switch"
        self._shim = base / "slow_disk.so"
        for folder in (self._store, self.folder):
            folder.mkdir(parents=True)
        self._switch.touch()
        _run("gcc", "-shared", "-fPIC", "-O1", "-o", self._shim, _SHIM, "-ldl")
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", self._store)
        _run("mount", "--bind", self._store, self.folder)

    def close(self) -> None:
        for folder in (self.folder, self._store):
            subprocess.run(["umount", "-l", folder], check=False, capture_output=True)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process whose disk it is."""
        return {"LD_PRELOAD": str(self._shim), "DISK_FOLDER": str(self.folder), "DISK_SWITCH": str(self._switch)}

    @contextmanager
    def failing(self, fault: str, databases: Sequence[Path]) -> Iterator[None]:
        """It has `fault` as long as the context lasts. databases: that another process locks, if that is the fault."""
        with {"full": self._full, "gone": self._gone}.get(fault, lambda: self._otherwise(fault, databases))():
            yield

    @contextmanager
    def _full(self) -> Iterator[None]:
        filler = self._store / "filler"
        with open(filler, "wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def _gone(self) -> Iterator[None]:
        _run("umount", "-l", self.folder)
        try:
            yield
        finally:
            _run("mount", "--bind", self._store, self.folder)

    @contextmanager
    def _otherwise(self, fault: str, databases: Sequence[Path]) -> Iterator[None]:
        locked = []
        if fault == "locked":
            for path in databases:
                locked.append(sqlite3.connect(path, timeout=10, isolation_level=None))
                locked[-1].execute("BEGIN EXCLUSIVE")
        else:
            self._switch.write_text(fault)
        try:
            yield
        finally:
            self._switch.write_text("")
            for database in locked:
                database.execute("ROLLBACK")
                database.close()


def wait_until(condition: object, limit_s: float) -> bool:
    give_up_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.1)
    return True


def _run(*command: object) -> None:
    subprocess.run([os.fspath(one) for one in map(str, command)], check=True)
