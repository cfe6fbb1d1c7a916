"""Proofs of fraud by signatures alone: short, and checked by anybody in a millisecond, without the model.

equivocation   two different receipts of one peer for the same work
contradiction  a receipt that acknowledges its predecessor's, with other inputs than that one's outputs
audit          a receipt, and those of two or more other peers that computed the same blocks in the same numerics from
               the same inputs, and agree on other outputs. Equal numerics ids promise equal bits, so unless those
               others conspire, the first is wrong: whoever believes it should know them
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgpack

from swarm.errors import InvalidRequest, UnusableFile
from swarm.storage.pipes import open_named
from swarm.wire.formats.receipts import MAX_RECEIPT_BYTES, SignedReceipt, Terms, is_contradiction, is_equivocation

VERSION = 1
EQUIVOCATION, CONTRADICTION, AUDIT = "equivocation", "contradiction", "audit"
PANEL = 3  # peers that decide a dispute
MAX_RECEIPTS = 1 + PANEL + 1  # the accused's, the panel's, and the first auditor's
MAX_PROOF_BYTES = MAX_RECEIPTS * (MAX_RECEIPT_BYTES + 8) + 64


@dataclass(frozen=True)
class Proof:
    """A proof that holds. accused, witnesses: peer ids; without witnesses, it takes nobody's word."""

    kind: str
    accused: str
    witnesses: tuple[str, ...]
    receipts: tuple[SignedReceipt, ...]  # of an audit, the accused's is the first; else the last

    def encode(self) -> bytes:
        encoded: bytes = msgpack.packb([VERSION, self.kind, [signed.encode() for signed in self.receipts]])
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> "Proof":
        """Raises InvalidRequest if `data`, which is untrusted, is no proof of anything."""
        match _unpack(data):
            case [int(version), str(kind), [*receipts]] if version == VERSION and len(receipts) <= MAX_RECEIPTS:
                pass
            case _:
                raise InvalidRequest(f"not a proof of version {VERSION}")
        encoded = [receipt for receipt in receipts if isinstance(receipt, bytes)]
        if len(encoded) != len(receipts):
            raise InvalidRequest("a proof with something else than receipts")
        proof = cls.of(kind, [SignedReceipt.decode(receipt) for receipt in encoded])
        if proof.encode() != data:  # the same in other bytes would be news to whoever knows it
            raise InvalidRequest("a proof that is not in its canonical encoding")
        return proof

    @classmethod
    def of(cls, kind: str, receipts: Sequence[SignedReceipt]) -> "Proof":
        """Raises InvalidRequest if these receipts do not prove it."""
        if kind == AUDIT:
            if not _is_outvoted(receipts):
                raise InvalidRequest("receipts that do not outvote the first one on the same work")
            return cls(kind, receipts[0].peer_id, tuple(one.peer_id for one in receipts[1:]), tuple(receipts))
        test = {EQUIVOCATION: is_equivocation, CONTRADICTION: is_contradiction}.get(kind)
        if test is None or len(receipts) != 2 or not test(*receipts):
            raise InvalidRequest(f"{len(receipts)} receipts that are no proof of {kind!r:.40}")
        return cls(kind, receipts[1].peer_id, (), tuple(receipts))


def outvoted(receipts: Sequence[SignedReceipt]) -> list[Proof]:
    """Proofs against those of `receipts`, all for the same work, that are in the minority; none without a majority of
    at least two."""
    by_outputs: dict[bytes, list[SignedReceipt]] = {}
    for signed in receipts:
        by_outputs.setdefault(signed.receipt.outputs, []).append(signed)
    ranked = sorted(by_outputs.values(), key=len, reverse=True)
    if len(ranked) < 2 or len(ranked[0]) < 2 or len(ranked[0]) == len(ranked[1]):
        return []
    return [Proof.of(AUDIT, [wrong, *ranked[0][:PANEL]]) for group in ranked[1:] for wrong in group]


def is_same_work(first: SignedReceipt, second: SignedReceipt) -> bool:
    """Whether two receipts, of whatever sessions, promise the same bits."""
    return bool(first.receipt.terms.numerics_id) and _work(first) == _work(second)


def _work(signed: SignedReceipt) -> tuple[Terms, int, int, bytes]:
    receipt = signed.receipt
    terms = replace(receipt.terms, session=b"", attempt=0, peer=b"", quote=b"")
    return terms, receipt.position, receipt.count, receipt.context


def read_proof(path: Path) -> Proof:
    """That in a file, which is untrusted. Raises UnusableFile if it cannot be read, InvalidRequest if it is none."""
    try:
        with open_named(path) as file:
            return Proof.decode(file.read(MAX_PROOF_BYTES + 1))
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error


def _is_outvoted(receipts: Sequence[SignedReceipt]) -> bool:
    if len(receipts) < 3 or len({one.peer_id for one in receipts}) != len(receipts):
        return False
    accused, *others = receipts
    if not all(is_same_work(accused, other) for other in others):
        return False
    outputs = {other.receipt.outputs for other in others}
    return len(outputs) == 1 and accused.receipt.outputs not in outputs


def _unpack(data: bytes) -> object:
    if len(data) > MAX_PROOF_BYTES:
        raise InvalidRequest(f"longer than {MAX_PROOF_BYTES} bytes, which no proof is")
    try:
        return msgpack.unpackb(data, max_array_len=MAX_RECEIPTS, max_map_len=0)
    except Exception as error:  # msgpack raises its own, ValueError, TypeError, ... on hostile bytes
        raise InvalidRequest("a proof that is not msgpack") from error
