"""The nodes that this one has met, and where: whom to call again after an outage, and whom to ask after a restart.

Kademlia forgets a node that did not answer once, since it is one of very many. Here two halves of a small swarm that
lost sight of each other for some seconds would so be two swarms for good.
"""

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

MOST = 64
MOST_ADDRESSES = 8  # of one node
FIRST_PAUSE_S, LAST_PAUSE_S = 2.0, 15.0  # between two calls on a node that was here a moment ago
LONG_GONE_S = 3600.0  # a node that was silent for so long is called no more often than this:
RARELY_S = 300.0
_JITTER = 0.3  # of a pause, either way: many that lost the same node are not to call it at once


@dataclass
class _Acquaintance:
    addresses: tuple[str, ...]
    met_s: float  # when it last answered, Unix time
    pause_s: float = FIRST_PAUSE_S
    due_s: float = field(default=0.0)  # when it is called again, if it is silent


class Acquaintances:
    """At most MOST; those that were met longest ago give way."""

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = time.time):
        """file: where they outlive this process; one that cannot be read is as good as none."""
        self._file, self._clock = file, clock
        self._known: dict[str, _Acquaintance] = _read(file) if file else {}

    def addresses(self) -> list[str]:
        """Of all, those that were met last first: multiaddresses with peer ids."""
        met = sorted(self._known.items(), key=lambda entry: -entry[1].met_s)
        return [f"{address}/p2p/{peer_id}" for peer_id, one in met for address in one.addresses]

    def met(self, peer_id: str, addresses: Sequence[str]) -> None:
        """It answers, and listens there."""
        if addresses:
            self._known[peer_id] = _Acquaintance(tuple(addresses)[:MOST_ADDRESSES], self._clock())
        while len(self._known) > MOST:
            self._known.pop(min(self._known, key=lambda one: self._known[one].met_s))

    def to_call(self, present: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Addresses of those that are not among `present` and whose turn it is, which they have herewith had."""
        now_s, around = self._clock(), set(present)
        due = {id_: one for id_, one in self._known.items() if id_ not in around and one.due_s <= now_s}
        for one in due.values():
            one.due_s = now_s + one.pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)
            most_s = RARELY_S if now_s - one.met_s > LONG_GONE_S else LAST_PAUSE_S
            one.pause_s = min(2 * one.pause_s, most_s)
        return {id_: one.addresses for id_, one in due.items()}

    def save(self) -> None:
        """Never fails: whoever cannot write them goes on without."""
        if self._file is None:
            return
        entries = {id_: {"addresses": one.addresses, "met_s": one.met_s} for id_, one in self._known.items()}
        scratch = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            scratch.write_text(json.dumps(entries))
            scratch.rename(self._file)
        except OSError as error:
            logger.debug("the nodes met were not kept: %s", error)


def _read(file: Path) -> dict[str, _Acquaintance]:
    try:
        entries = json.loads(file.read_text())
        return {str(id_): _Acquaintance(tuple(one["addresses"]), float(one["met_s"])) for id_, one in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
