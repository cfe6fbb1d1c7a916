"""How busy this machine is, and who keeps it so."""

import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

import psutil

from swarm.measure.figures import Load


class LoadMeter:
    """From when it was made: how many cores this process and its children kept busy, and how many others did."""

    def __init__(self, also: Collection[int] = ()):
        """also: process ids of what else counts as its own, with its children."""
        self._also = also
        self._cores = sorted(os.sched_getaffinity(0))
        self._started_s, self._busy_s, self._own_s = time.monotonic(), self._busy(), self._own()

    def read(self) -> Load:
        """Until now."""
        seconds = max(time.monotonic() - self._started_s, 1e-3)
        own = max(self._own() - self._own_s, 0.0) / seconds
        return Load(len(self._cores), own, max((self._busy() - self._busy_s) / seconds - own, 0.0))

    def _own(self) -> float:
        """Seconds of processor time of its own processes that still run."""
        return sum(map(_used_s, _families([os.getpid(), *self._also])))

    def _busy(self) -> float:
        """Seconds of all these cores, since the machine started."""
        every = psutil.cpu_times(percpu=True)
        return sum(_busy_s(every[core]) for core in self._cores if core < len(every))


def _busy_s(times: object) -> float:
    # What a guest used is in user and nice already; iowait is idle; stolen time is another machine's on the same core.
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(float(getattr(times, name, 0.0)) for name in names)


def _used_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended
        return 0.0
    return float(times.user + times.system)


def _families(pids: Iterable[int]) -> set[psutil.Process]:
    """These and all their descendants."""
    found: set[psutil.Process] = set()
    for pid in pids:
        with suppress(psutil.Error):  # it ended
            process = psutil.Process(pid)
            found |= {process, *process.children(recursive=True)}
    return found
