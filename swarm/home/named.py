"""This machine's keys by what people call them: a file, or the end of a peer id. No key is made here."""

from pathlib import Path

from swarm.errors import InvalidRequest, UnusableFile
from swarm.home.identities import client_key_file, key_slots
from swarm.wire.identity import Identity
from swarm.wire.peer_names import check_peer_name, find_peer


def kept_keys() -> dict[str, Path]:
    """The files of this machine's keys, by peer id. Raises SwarmError if one cannot be read."""
    files = [file for file in [client_key_file(), *key_slots()] if file.exists()]
    return {Identity.load_or_create(file).peer_id: file for file in reversed(files)}


def named_key(name: Path) -> Path:
    """The key's file: `name`, or, where there is no such file, that of this machine's key whose peer id is or ends in
    it. Raises UnusableFile if there is none, or more than one."""
    if name.exists():
        return name
    try:
        check_peer_name(str(name))
    except InvalidRequest as error:
        raise UnusableFile(f"there is no key in {name}") from error
    kept = kept_keys()
    try:
        return kept[find_peer(str(name), kept, "whose key is on this machine")]
    except InvalidRequest as error:
        raise UnusableFile(f"there is no key in {name}, and as the end of a peer's id: {error}") from error


def named_identity(name: Path) -> Identity:
    """The key itself. Raises SwarmError if there is none."""
    return Identity.load_or_create(named_key(name))
