"""What a validator commits to and then reveals: its scores of servers in one epoch.

It commits to the Keccak-256 of the payload, through `Ledger.commit`, and reveals the payload once nobody can commit any
more. The payload names its validator and epoch, and 32 bytes of salt keep it from being guessed: who copies another's
commitment cannot reveal it as its own.
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.errors import InvalidRequest
from swarm.wire.identity import keccak256

VERSION = 1
MAX_SCORE = 2**16 - 1
MAX_SERVERS = 2**12
_HEAD = struct.Struct(">B20sQ32sH")
_SCORE = struct.Struct(">20sH")
MAX_BALLOT_BYTES = _HEAD.size + MAX_SERVERS * _SCORE.size


@dataclass(frozen=True)
class Ballot:
    """One validator's scores in one epoch. Raises InvalidRequest if it has none, too many, or they are no scores."""

    validator: bytes  # address
    epoch: int
    scores: Mapping[bytes, int]  # of servers, by address: 1 to MAX_SCORE; only their proportions count
    salt: bytes = field(default_factory=lambda: os.urandom(32))

    def __post_init__(self) -> None:
        if not 0 < len(self.scores) <= MAX_SERVERS:
            raise InvalidRequest(f"a ballot with {len(self.scores)} scores; at least 1, and at most {MAX_SERVERS}")
        if not all(isinstance(score, int) and 0 < score <= MAX_SCORE for score in self.scores.values()):
            raise InvalidRequest(f"scores are whole numbers from 1 to {MAX_SCORE}; leave out servers that deserve none")

    @property
    def digest(self) -> bytes:
        """What is committed to."""
        return keccak256(self.encode())

    def encode(self) -> bytes:
        """The canonical payload: servers in the order of their addresses."""
        head = _HEAD.pack(VERSION, self.validator, self.epoch, self.salt, len(self.scores))
        return head + b"".join(_SCORE.pack(*one) for one in sorted(self.scores.items()))

    @classmethod
    def decode(cls, data: bytes) -> "Ballot":
        """The ballot in `data`, which is untrusted. Raises InvalidRequest."""
        if not _HEAD.size < len(data) <= MAX_BALLOT_BYTES or data[0] != VERSION:
            raise InvalidRequest(f"a ballot of version {VERSION} has at most {MAX_BALLOT_BYTES} bytes, not {len(data)}")
        _, validator, epoch, salt, count = _HEAD.unpack_from(data)
        if len(data) != _HEAD.size + count * _SCORE.size:
            raise InvalidRequest(f"a ballot of {len(data)} bytes that claims {count} scores")
        ballot = cls(validator, epoch, dict(_SCORE.iter_unpack(data[_HEAD.size :])), salt)
        if ballot.encode() != data:
            raise InvalidRequest("a ballot whose servers are not in order, or named twice")
        return ballot


def scores_of(measured: Mapping[bytes, float]) -> dict[bytes, int]:
    """Scores in proportion to what was measured of each server, the largest of which gets MAX_SCORE."""
    largest = max(measured.values(), default=0.0)
    scores = {server: round(MAX_SCORE * value / largest) for server, value in measured.items() if value > 0}
    return {server: score for server, score in scores.items() if score}


def counted(epoch: int, revealed: Mapping[bytes, bytes]) -> dict[bytes, Mapping[bytes, int]]:
    """The scores of an epoch, by validator, for `Epoch.weights`. What is malformed, or another's, is left out.

    revealed: payloads by the address that revealed them, as from `epochs.revealed`.
    """
    scores: dict[bytes, Mapping[bytes, int]] = {}
    for validator, payload in revealed.items():
        try:
            ballot = Ballot.decode(payload)
        except InvalidRequest:
            continue
        if (ballot.validator, ballot.epoch) == (validator, epoch):
            scores[validator] = ballot.scores
    return scores
