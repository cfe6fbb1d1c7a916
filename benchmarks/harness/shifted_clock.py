"""Processes whose machine's clock is off, see shifted_clock.c."""

import os
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class ShiftedClock:
    """The machine's clock for processes that are started with its `environment`."""

    def __init__(self, folder: Path, ahead_s: float = 0.0):
        """folder: for its files."""
        self._library, self._file = folder / "shifted_clock.so", folder / f"ahead-{id(self)}"
        if not self._library.exists():
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self._library, SOURCE, "-ldl", "-lm"], check=True)
        self.set(ahead_s)

    def set(self, ahead_s: float) -> None:
        """From now on; also for processes that run."""
        with open(os.open(self._file, os.O_RDWR | os.O_CREAT), "r+b") as file:  # the same file: it is mapped
            file.write(struct.pack("d", ahead_s))

    @property
    def environment(self) -> dict[str, str]:
        """What such a process has in its environment, beside the rest."""
        return {"LD_PRELOAD": str(self._library), "SHIFTED_CLOCK": str(self._file)}
