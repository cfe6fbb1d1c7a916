"""How often something costly may be done at the bidding of strangers, and which of them count as one."""

import ipaddress
import time
from collections import deque
from collections.abc import Callable


class Allowance:
    """`count` times in any `period_s` seconds."""

    def __init__(self, count: int, period_s: float, now: Callable[[], float] = time.monotonic):
        """now: seconds, never running backwards."""
        self._period_s, self._now = period_s, now
        self._spent: deque[float] = deque(maxlen=count)

    def spend(self) -> bool:
        """Whether it may be done once more now; if so, it counts as done."""
        now_s = self._now()
        if len(self._spent) == self._spent.maxlen and now_s - self._spent[0] < self._period_s:
            return False
        self._spent.append(now_s)
        return True


def network_of(caller: str) -> str:
    """Where a call comes from, out of gRPC's "ipv4:192.0.2.7:4711": an IPv4 address, or the 64 bits of an IPv6 one that
    a network is given as a whole."""
    kind, _, rest = caller.partition(":")
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    if kind != "ipv6":
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
