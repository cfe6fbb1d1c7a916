"""How busy this machine is, and who keeps it so."""

import os
import time
from collections.abc import Iterator

import psutil

from swarm.measure.figures import NOTICED, Load


class LoadMeter:
    """From when it was made: how many cores this process and its children kept busy, and how many others did."""

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0))
        self._started_s, self._busy_s, self._own_s = time.monotonic(), self._busy(), _own_s()

    def read(self) -> Load:
        """Until now."""
        seconds = max(time.monotonic() - self._started_s, 1e-3)
        own = max(_own_s() - self._own_s, 0.0) / seconds
        return Load(len(self._cores), own, max((self._busy() - self._busy_s) / seconds - own, 0.0))

    def _busy(self) -> float:
        """Seconds of all these cores, since the machine started."""
        every = psutil.cpu_times(percpu=True)
        return sum(_busy_s(every[core]) for core in self._cores if core < len(every))


def _busy_s(times: object) -> float:
    # What a guest used is in user and nice already; iowait is idle; stolen time is another machine's on the same core.
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(float(getattr(times, name, 0.0)) for name in names)


def _own_s() -> float:
    """Seconds of processor time of this process, and of its descendants that still run."""
    total = 0.0
    for process in _family():
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended
            continue
        total += times.user + times.system
    return total


def _family() -> Iterator[psutil.Process]:
    me = psutil.Process()
    yield me
    yield from me.children(recursive=True)


def busy_before(seconds: float = 1.0) -> str:
    """Whether this machine is busy, though what is to be measured idles: why its figures are in doubt, or ""."""
    meter = LoadMeter()
    time.sleep(seconds)
    load = meter.read()
    crowded = load.others > NOTICED * load.cores
    return f"others took {load.others:.1f} of {load.cores} cores before it began" if crowded else ""
