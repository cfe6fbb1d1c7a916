"""What the members of a private swarm have in common: one secret, and the keys that follow from it.

Whoever has the secret is a member, and can do what any member can; there are no ranks, and nobody is expelled but by a
new secret for all others. An outsider who connects to a member sees a certificate signed with a key that follows from
the secret, so he can try guesses against it at home, at 0.1 s and 32 MiB each (scrypt, RFC 7914; the salt is the same
for all swarms). That alone saves no password that a person would think of: take 128 random bits or more, as
`Secret.generate` does.
"""

import hashlib
import io
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from swarm.errors import InvalidRequest, PrivateSwarm, UnusableFile
from swarm.program import command, option
from swarm.storage.files import warn_if_shared
from swarm.storage.pipes import open_named

_MOST_CHARACTERS = 2**16
LEAST_CHARACTERS = 22  # of base64, as many as 128 random bits take


class Secret:
    """The secret of one private swarm."""

    def __init__(self, text: str):
        """text: 22 characters or more; space around them does not count. Raises InvalidRequest if it is shorter."""
        check_secret(text)
        text = text.strip()
        self._root = hashlib.scrypt(
            text.encode(), salt=b"swarm/secret/v1", n=2**15, r=8, p=1, maxmem=2**26, dklen=32
        )  # fmt: skip
        self.name = self.key(b"name", 8).hex()  # of the swarm: gives nothing away but that two swarms are the same

    @staticmethod
    def generate() -> str:
        """A new one: 256 random bits, 43 characters that need no quoting."""
        return secrets.token_urlsafe(32)

    def key(self, purpose: bytes, length: int = 32) -> bytes:
        """`length` bytes that only members can compute, others for every purpose (HKDF, RFC 5869)."""
        return HKDFExpand(hashes.SHA256(), length, b"swarm/" + purpose).derive(self._root)


def check_secret(text: str) -> None:
    """Raises InvalidRequest for one that is too short."""
    if (length := len(text.strip())) < LEAST_CHARACTERS:
        raise InvalidRequest(
            f"a secret of {length} characters can be guessed; take at least {LEAST_CHARACTERS} random ones, as "
            f"`{command('secret')}` prints"
        )


def find_secret(text: str | None = None, file: Path | None = None) -> Secret | None:
    """The secret in `text`, or in `file`, or in SWARM_SECRET; None if there is none: the swarm is open to all.

    Raises InvalidRequest if the secret is too short, UnusableFile if there is none in the file.
    """
    if text is None:
        text = read_secret(file) if file else os.environ.get("SWARM_SECRET") or None
    return None if text is None else Secret(text)


def read_secret(file: Path) -> str:
    """Raises UnusableFile if the file cannot be read, or holds no secret. Warns if others can read it as well."""
    try:
        with io.TextIOWrapper(open_named(file), encoding="utf-8") as opened:  # also a pipe, and a device without an end
            text = opened.read(_MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UnusableFile(f"cannot read the secret file {file}: {reason}") from error
    if len(text) > _MOST_CHARACTERS:
        raise UnusableFile(f"the secret file {file} holds more than a secret")
    try:
        check_secret(text)
    except InvalidRequest as error:
        raise UnusableFile(f"the secret file {file} {'holds ' if text.strip() else 'is empty: '}{error}") from error
    warn_if_shared(file, "secret file")
    return text


def refused(secret: Secret | None) -> PrivateSwarm:
    """The error for a process that has this secret, or none, at a private swarm of another one."""
    if secret:
        return PrivateSwarm("this swarm is private, and its secret is another than the one given")
    return PrivateSwarm(f"this swarm is private; give its secret ({option('secret', '--secret-file')} or SWARM_SECRET)")
