"""A key on its way to another machine, with all that protects its owner there: receipts and openings, vouchers and
bills, what was committed to, what is known of peers. One file, a tar archive; what is moved is not used here any more.

The copy of a database is taken as of one moment. The mark that a key was moved is there before the archive is: who is
interrupted in between has a key that is used nowhere, and not twice. Where it arrives, the mark is there before the
first file and until the key is: an import that was cut short is done again, and until then nobody is that peer.
"""

import io
import json
import os
import re
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from swarm.clock import now_ms
from swarm.errors import SwarmError, UnusableFile
from swarm.home.folder import require_home, swarm_home, writing_to
from swarm.home.identities import ARRIVING, arriving, client_key_file, held_key, key_slots, moved_file, refuse_moved
from swarm.storage.files import check_regular, parse_json, without_waiting, write_whole
from swarm.wire.identity import Identity

FORMAT = 1
_CLIENT = "client"
_KEY, _MANIFEST = "key", "manifest.json"
_MAX_FILE_BYTES = 2**31  # of all that is in an archive, and of that itself
_DATABASES = (".db", ".sqlite")


@dataclass(frozen=True)
class Moved:
    """What was moved. files: beside the key. key: its file on this machine."""

    peer_id: str
    files: int
    key: Path


def export(key: Path, target: Path) -> Moved:
    """Move the key in a file, and what belongs to it, into a new archive, `target`. Raises SwarmError if a process uses
    it, or something cannot be read or written."""
    if target.exists():
        raise SwarmError(f"{target} exists; name another file")
    if not key.exists():
        raise UnusableFile(f"there is no key in {key}")
    Identity.load_or_create(key)  # what is no key is not locked either, and so left as it is
    key = next((slot for slot in _all_places() if slot.exists() and slot.samefile(key)), key)  # however it was named
    with _unused(key), writing_to(target):
        refuse_moved(key)
        identity = Identity.load_or_create(key)
        files = [swarm_home() / name for name in _belongings(_owner(key, identity), identity)]
        manifest = {"format": FORMAT, "peer_id": identity.peer_id, "is_client": key == client_key_file()}
        mark = moved_file(key)
        write_whole(mark, json.dumps({"moved_ms": now_ms(), "to": str(target)}).encode())
        try:
            members = {_MANIFEST: json.dumps(manifest).encode(), _KEY: key.read_bytes()}
            members |= {file.relative_to(swarm_home()).as_posix(): _read(file) for file in files}
            write_whole(target, _pack(members))
        except BaseException:
            target.unlink(missing_ok=True)
            mark.unlink()
            raise
    return Moved(identity.peer_id, len(files), key)


def take_in(archive: Path) -> Moved:
    """Put what an archive holds where it belongs on this machine. Raises UnusableFile if it is none, SwarmError if
    there is something in its place."""
    members = _unpack(archive)
    is_client, identity = _check(members, archive)
    require_home()
    key = _place_for(identity, is_client)
    with _unused(key), writing_to(swarm_home()):
        if key != _place_for(identity, is_client):
            raise SwarmError(f"another process has just made a key in {key}; try again")
        files = {name: data for name, data in members.items() if name not in (_KEY, _MANIFEST)}
        _check_files(files, archive, identity, is_client, may_replace=moved_file(key).exists())
        _put_in_place(files, key, members[_KEY], identity)
    return Moved(identity.peer_id, len(files), key)


def _check_files(
    files: Mapping[str, bytes], archive: Path, identity: Identity, is_client: bool, may_replace: bool
) -> None:
    """Raises UnusableFile, SwarmError."""
    for name in files:
        if not _may_belong(name, _CLIENT if is_client else identity.peer_id, identity):
            raise UnusableFile(f"{archive} holds {name!r:.80}, which does not belong to the key in it")
        if (swarm_home() / name).exists() and not may_replace:
            raise SwarmError(f"{swarm_home() / name} exists; move it away first")


def _put_in_place(files: Mapping[str, bytes], key: Path, data: bytes, identity: Identity) -> None:
    """Wherever this ends, it can be done again. Raises OSError."""
    mark = moved_file(key)
    if not key.exists():
        write_whole(mark, json.dumps({ARRIVING: identity.peer_id}).encode())
    for name, content in files.items():
        file = swarm_home() / name
        for beside in ("-wal", "-shm"):  # of the database that was there before
            file.with_name(file.name + beside).unlink(missing_ok=True)
        write_whole(file, content)
    write_whole(key, data, replaces=False)
    mark.unlink()


# --- what belongs to a key -------------------------------------------------------------------------------------------


def _owner(key: Path, identity: Identity) -> str:
    """As files are named after it."""
    return _CLIENT if key == client_key_file() else identity.peer_id


def _patterns(owner: str, identity: Identity) -> list[str]:
    """Regular expressions of names under SWARM_HOME."""
    own, address = re.escape(owner), identity.address.hex()
    both = [rf"(receipts|payments)/{own}\.db", rf"acquaintances/{own}(-[0-9a-f]+)?\.json",
            rf"commitments/[0-9a-f]{{16}}-{address}-\d+\.payload"]  # fmt: skip
    if owner == _CLIENT:
        return [*both, r"standing\.sqlite", r"evidence/[0-9A-Za-z]+-[0-9a-f]+\.evidence"]
    return [*both, rf"places/{own}\.json"]


def _may_belong(name: str, owner: str, identity: Identity) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in _patterns(owner, identity))


def _belongings(owner: str, identity: Identity) -> Iterator[str]:
    """Names under SWARM_HOME, of those that are there."""
    home = swarm_home()
    for file in sorted([*home.glob("*"), *home.glob("*/*")]):
        name = file.relative_to(home).as_posix()
        if file.is_file() and _may_belong(name, owner, identity):
            yield name


def _place_for(identity: Identity, is_client: bool) -> Path:
    """The key's file on this machine. Raises SwarmError if it is used here, or there is no place."""
    places = [client_key_file()] if is_client else key_slots()
    for place in _all_places():
        if place.exists() and Identity.load_or_create(place).peer_id == identity.peer_id:
            if not moved_file(place).exists():
                raise SwarmError(f"this key is on this machine already, in {place}")
            if place in places:
                return place
        if place in places and arriving(place) == identity.peer_id:
            return place
    free = next((place for place in places if not place.exists() and not arriving(place)), None)
    if free is None:
        raise SwarmError(f"there is another key in {places[0]}, or on its way there; export it first, or move it away")
    return free


def _all_places() -> list[Path]:
    """Of this machine's keys."""
    return [client_key_file(), *key_slots()]


@contextmanager
def _unused(key: Path) -> Iterator[None]:
    """Raises SwarmError if a process uses it."""
    with held_key(key) as is_free:
        if not is_free:
            raise SwarmError(f"the key in {key} is in use by a running process; stop that first")
        yield


# --- the archive -----------------------------------------------------------------------------------------------------


def _read(file: Path) -> bytes:
    """A database as of one moment, with what is not in its main file yet. Raises OSError."""
    if file.suffix not in _DATABASES:
        return file.read_bytes()
    with tempfile.TemporaryDirectory(dir=swarm_home()) as folder:
        copy = Path(folder) / "copy"
        try:
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        except sqlite3.Error as error:
            raise OSError(f"{file} cannot be copied: {error}") from error
        return copy.read_bytes()


def _pack(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(data), 0o600
            archive.addfile(header, io.BytesIO(data))
    return packed.getvalue()


def _unpack(file: Path) -> dict[str, bytes]:
    """Raises UnusableFile."""
    members: dict[str, bytes] = {}
    try:
        with open(file, "rb", opener=without_waiting) as packed:  # a pipe would be waited for
            check_regular(packed.fileno(), file)
            if os.fstat(packed.fileno()).st_size > _MAX_FILE_BYTES:
                raise UnusableFile(f"{file} is larger than any key with what belongs to it")
            _unpack_into(members, packed, file)
    except OSError as error:
        raise UnusableFile(f"{file} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise UnusableFile(f"{file} is no key that was exported, or is damaged") from error
    return members


def _unpack_into(members: dict[str, bytes], packed: BinaryIO, file: Path) -> None:
    """Raises UnusableFile, OSError, tarfile.TarError, EOFError, ValueError."""
    with tarfile.open(fileobj=packed) as archive:
        for header in archive:
            opened = archive.extractfile(header) if header.isreg() else None
            if opened is None or sum(map(len, members.values())) + header.size > _MAX_FILE_BYTES:
                raise UnusableFile(f"{file} is no key on its way: {header.name!r:.80} in it is no file")
            members[PurePosixPath(header.name).as_posix()] = opened.read()


def _check(members: dict[str, bytes], archive: Path) -> tuple[bool, Identity]:
    """Whether it is a client's key, and the key. Raises UnusableFile."""
    try:
        manifest = parse_json(members[_MANIFEST])
        version, is_client, peer_id = manifest["format"], manifest["is_client"], manifest["peer_id"]
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableFile(f"{archive} holds no key that was exported") from error
    if version != FORMAT:
        raise UnusableFile(f"{archive} is of format {version!r:.20}; this software reads {FORMAT}: update it")
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / _KEY
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(members.get(_KEY, b""))
        identity = Identity.load_or_create(key)
    if identity.peer_id != peer_id:
        raise UnusableFile(f"{archive} holds another key than it says")
    return is_client is True, identity
