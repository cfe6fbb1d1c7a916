"""How peers are named by people: by their id, or by the end of it. Pure; imports nothing heavy.

All commands print the same few last characters of an id, and take as many wherever a peer is named. They are no proof
of who somebody is: with patience a stranger makes a key whose id ends in the same. A name is therefore looked up once,
among the peers that are there, and from then on stands for that one's whole id.
"""

import re
from collections.abc import Iterable, Sequence

from swarm.errors import InvalidRequest

SHORT = 8  # last characters of an id, where it is shown
LEAST = 4  # of them, by which a peer may be named
_SHORTEST_ID = 40  # a whole one begins with what kind of key it is of, and is longer
_MOST_LISTED = 6
_BEGINNINGS = "16Uiu2", "12D3Koo"  # of ids of the two kinds of keys
_BASE58 = re.compile(r"[1-9A-HJ-NP-Za-km-z]+")


def short_id(peer_id: str) -> str:
    """The end of an id, as all commands show it."""
    return peer_id[-SHORT:]


def check_peer_name(name: object) -> str:
    """`name`, if it can be a peer's id or the end of one. Raises InvalidRequest."""
    if not isinstance(name, str) or not _BASE58.fullmatch(name) or len(name) < LEAST:
        raise InvalidRequest(
            f"{name!r:.80} names no peer; give its id, or at least the last {LEAST} characters of it, as `status` shows"
        )
    if name.startswith(_BEGINNINGS) and not is_whole(name):
        raise InvalidRequest(
            f"{name!r} is the beginning of a peer's id, and all begin like that; give the whole, or the end of it"
        )
    return name


def check_peer_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """One name, or several. Raises InvalidRequest."""
    return tuple(map(check_peer_name, [names] if isinstance(names, str) else names))


def is_whole(name: str) -> bool:
    """Whether it is a whole id, and not the end of one."""
    return len(name) >= _SHORTEST_ID


def find_peer(name: str, known: Iterable[str], where: str) -> str:
    """The id in `known` that `name` stands for: that id itself, or the only one that ends so. where: the known ones
    are, as in "in this swarm". Raises InvalidRequest if there is none, or more than one."""
    check_peer_name(name)
    known = sorted(set(known))
    found = [peer_id for peer_id in known if peer_id.endswith(name)]
    if name in found or len(found) == 1:
        return name if name in found else found[0]
    if found:
        those = _listed(found, whole=True)
        raise InvalidRequest(f"{name!r} names {len(found)} peers {where}, {those}; give more of it")
    there = f"there are {_listed(known)}" if known else "there is none"
    raise InvalidRequest(f"no peer {where} has an id that ends in {name!r:.80}; {there}")


def _listed(peer_ids: Sequence[str], whole: bool = False) -> str:
    shown = ", ".join(peer_ids[:_MOST_LISTED] if whole else map(short_id, peer_ids[:_MOST_LISTED]))
    more = len(peer_ids) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
