"""Peers of whom something is kept on this machine, by the end of their id. Imports nothing heavy."""

from collections.abc import Collection

from swarm.errors import InvalidRequest, UnusableFile
from swarm.wire.peer_names import check_peer_name, find_peer


def find_kept(name: str, known: Collection[str], where: str) -> str:
    """As `find_peer`, but that there is none is no matter of how it was typed. Raises InvalidRequest, UnusableFile."""
    check_peer_name(name)
    try:
        return find_peer(name, known, where)
    except InvalidRequest as error:
        if any(peer_id.endswith(name) for peer_id in known):
            raise
        raise UnusableFile(str(error)) from error
