"""The nodes that this one has met, and where: whom to call again after an outage, and whom to ask after a restart.

Kademlia forgets a node that did not answer once, since it is one of very many. Here two halves of a small swarm that
lost sight of each other for a minute would so be two swarms for good.

They are of one swarm. It goes on being that one as long as those given (by whoever starts this node) were given before,
or met since; when all of them are new, it is another swarm, and what was known of the first is forgotten.
"""

import json
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.clock import now_s
from swarm.storage.files import read_json, write_whole

logger = logging.getLogger(__name__)

MOST = 64
MOST_ADDRESSES = 8  # of one node
FIRST_PAUSE_S, LAST_PAUSE_S = 2.0, 15.0  # between two calls on a node that was here a moment ago
LONG_GONE_S = 3600.0  # a node that was silent for so long is called no more often than this:
RARELY_S = 300.0
HERE_S = 30.0  # who was met within this time has not gone silent
SAVE_EVERY_S = 300.0  # where only the times have changed
_JITTER = 0.3  # of a pause, either way: many that lost the same node are not to call it at once


@dataclass
class _Acquaintance:
    seen: tuple[str, ...] = ()  # where it was, when it last answered
    given: tuple[str, ...] = ()  # where it is by what this node was told; perhaps by a name, which outlives an address
    met_s: float = 0.0  # when it last answered, Unix time
    pause_s: float = FIRST_PAUSE_S
    due_s: float = 0.0  # when it is called again, if it is silent

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.seen + self.given))


class Acquaintances:
    """At most MOST; those that were met longest ago give way, but those given stay."""

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = now_s):
        """file: where they outlive this process; one that cannot be read is as good as none."""
        self._file, self._clock = file, clock
        self._known: dict[str, _Acquaintance] = _read(file) if file else {}
        self._is_new = False  # another swarm, of which nobody was met yet
        self._saved: tuple[float, dict[str, tuple[str, ...]]] = (0.0, {})  # when, and which addresses

    def __len__(self) -> int:
        return len(self._known)

    def give(self, addresses: Iterable[str]) -> bool:
        """Those through which this node is told to join: multiaddresses with peer ids; none if it is to go on where it
        was. Returns whether it has been in their swarm before. If not, nothing is saved before one of them has
        `answered`: it may be a mistake."""
        given = by_peer(addresses)
        is_known = not given or any(peer_id in self._known for peer_id in given)
        if not is_known:
            self._known, self._is_new = {}, True
        was_here = bool(self._known)
        for peer_id, places in given.items():
            self._known.setdefault(peer_id, _Acquaintance()).given = tuple(places)[:MOST_ADDRESSES]
        return was_here

    def answered(self) -> None:
        """Those given are no mistake: one of them, or of those known, has answered."""
        self._is_new = False

    def addresses(self) -> list[str]:
        """Of all, those that were met last first: multiaddresses with peer ids."""
        met = sorted(self._known.items(), key=lambda entry: -entry[1].met_s)
        return [f"{address}/p2p/{peer_id}" for peer_id, one in met for address in one.addresses]

    def met(self, peer_id: str, addresses: Sequence[str]) -> None:
        """It answers, and listens there."""
        one = self._known.setdefault(peer_id, _Acquaintance())
        one.seen, one.met_s = tuple(addresses)[:MOST_ADDRESSES], self._clock()
        one.due_s, one.pause_s = 0.0, FIRST_PAUSE_S
        self.answered()
        while len(self._known) > MOST:
            self._known.pop(min(self._known, key=self._worth))

    def _worth(self, peer_id: str) -> tuple[bool, bool, float]:
        """The least of all gives way: who is here now is met again without being called, and of the silent ones those
        that were met last are the likeliest to come back."""
        one = self._known[peer_id]
        is_silent = 0.0 < one.met_s < self._clock() - HERE_S
        return bool(one.given), is_silent and one.met_s > self._clock() - LONG_GONE_S, one.met_s

    def to_call(self, present: Iterable[str]) -> dict[str, Sequence[str]]:
        """Addresses of those that are not among `present` and whose turn it is, which they have herewith had."""
        time_s, around = self._clock(), set(present)
        due = {id_: one for id_, one in self._known.items() if id_ not in around and one.due_s <= time_s}
        for one in due.values():
            one.due_s = time_s + one.pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)
            most_s = RARELY_S if time_s - one.met_s > LONG_GONE_S else LAST_PAUSE_S
            one.pause_s = min(2 * one.pause_s, most_s)
        return {id_: one.addresses for id_, one in due.items()}

    def call_all(self) -> None:
        """It is everybody's turn: this node may have been away."""
        for one in self._known.values():
            one.due_s, one.pause_s = 0.0, FIRST_PAUSE_S

    def save(self) -> None:
        """If there is something new. Never fails: whoever cannot write them goes on without. Any thread."""
        known = dict(self._known)
        places, (saved_s, saved) = {id_: one.addresses for id_, one in known.items()}, self._saved
        if self._file is None or self._is_new or (places == saved and abs(self._clock() - saved_s) < SAVE_EVERY_S):
            return
        self._saved = self._clock(), places
        entries = {id_: {"seen": one.seen, "given": one.given, "met_s": one.met_s} for id_, one in known.items()}
        try:
            write_whole(self._file, json.dumps(entries).encode(), 0o644, is_durable=False)
        except OSError as error:
            logger.debug("the nodes met were not kept: %s", error)


def by_peer(addresses: Iterable[str]) -> dict[str, Sequence[str]]:
    """Multiaddresses without their peer ids, by peer id."""
    found: dict[str, list[str]] = {}
    for address in addresses:
        path, peer_id = address.rsplit("/p2p/", 1)
        found.setdefault(peer_id, []).append(path)
    return dict(found)


def _read(file: Path) -> dict[str, _Acquaintance]:
    try:
        entries = read_json(file)
        return {
            str(id_): _Acquaintance(tuple(map(str, one["seen"])), tuple(map(str, one["given"])), float(one["met_s"]))
            for id_, one in list(entries.items())[:MOST]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
