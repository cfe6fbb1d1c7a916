"""Two sites of one network, each a network namespace, with a router between them that can be told to lose everything.

Needs root on Linux, and `ip`. Packets are dropped without a word, as in a real outage; nobody's link goes down.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SITES = ("a", "b")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@dataclass(frozen=True)
class TwoSites:
    """prefix: of the namespaces' names."""

    prefix: str

    def host(self, site: str) -> str:
        return f"10.77.{SITES.index(site)}.1"

    def command(self, site: str, *command: str) -> list[str]:
        """That runs `command` at a site."""
        return ["ip", "netns", "exec", f"{self.prefix}-{site}", *command]

    def lose(self, *directions: str) -> None:
        """Lose what goes "to a", "to b", or both."""
        for direction in directions:
            _ip("-n", f"{self.prefix}-r", "route", "replace", "blackhole", self._net(direction))

    def mend(self) -> None:
        for site in SITES:
            _ip("-n", f"{self.prefix}-r", "route", "flush", "type", "blackhole", "match", self._net(site))

    def move(self, site: str) -> None:
        """Give a site another address, as a router does to whoever comes back to it."""
        index, name = SITES.index(site), f"{self.prefix}-{site}"
        _ip("-n", name, "addr", "flush", "dev", "eth0")
        _ip("-n", name, "addr", "add", f"10.77.{index}.2/24", "dev", "eth0")
        _ip("-n", name, "route", "add", "default", "via", f"10.77.{index}.254")

    def _net(self, site: str) -> str:
        return f"10.77.{SITES.index(site[-1])}.1/32"  # more specific than the way there


@contextmanager
def two_sites() -> Iterator[TwoSites]:
    prefix = f"outage-{os.getpid()}"
    names = [f"{prefix}-{site}" for site in (*SITES, "r")]
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        router = names[-1]
        for index, name in enumerate(names[:2]):
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"to{index}", "netns", router)
            for netns, device, last in ((name, "eth0", 1), (router, f"to{index}", 254)):
                _ip("-n", netns, "addr", "add", f"10.77.{index}.{last}/24", "dev", device)
                _ip("-n", netns, "link", "set", device, "up")
            _ip("-n", name, "route", "add", "default", "via", f"10.77.{index}.254")
        forward = ["sysctl", "-qw", "net.ipv4.ip_forward=1"]
        subprocess.run(["ip", "netns", "exec", router, *forward], check=True)
        yield TwoSites(prefix)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)
