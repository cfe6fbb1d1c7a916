"""Machines of one's own: network namespaces with a wire between them."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Machine:
    """A network namespace with an address, and a home."""

    name: str
    address: str
    home: Path

    def command(self, words: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    @property
    def environment(self) -> dict[str, str]:
        names = "SWARM_PEERS", "SWARM_LEDGER", "SWARM_SECRET"
        return {name: value for name, value in os.environ.items() if name not in names} | {"SWARM_HOME": str(self.home)}

    def run(self, words: Sequence[str], timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(words), env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )


@contextmanager
def two_machines(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """That reach each other, and nobody else. Skips the test where namespaces cannot be made."""
    tag = f"{os.getpid() % 100_000}"
    machines = [
        Machine(f"swarm{tag}{end}", f"10.213.77.{number}", folder / end) for number, end in ((1, "a"), (2, "b"))
    ]
    first, second = machines
    try:
        for one in machines:
            _ip("netns", "add", one.name)
        _ip("link", "add", f"v{tag}a", "netns", first.name, "type", "veth", "peer", "name", f"v{tag}b",
            "netns", second.name)  # fmt: skip
        for one in machines:
            one.home.mkdir()
            _ip("-n", one.name, "address", "add", f"{one.address}/24", "dev", f"v{tag}{one.name[-1]}")
            for device in (f"v{tag}{one.name[-1]}", "lo"):
                _ip("-n", one.name, "link", "set", device, "up")
        _ip("-n", first.name, "route", "add", "default", "dev", f"v{tag}a")  # the other has none: only this neighbour
        yield first, second
    finally:
        for one in machines:
            subprocess.run(["ip", "netns", "delete", one.name], capture_output=True)


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces can be made here: {getattr(error, 'stderr', error)}")
