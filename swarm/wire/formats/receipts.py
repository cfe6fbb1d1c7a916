"""Receipts: what a hop signs of what came in and what went out.

A receipt covers a chunk, which is consecutive positions of one session on one hop. It proves who sent what, not that it
was computed rightly: for that, `inputs` and `outputs` are what an audit compares with.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from swarm import shown
from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.signed import Address, Bytes16, Bytes32, Format, Text, UInt32, UInt64
from swarm.wire.identity import Identity
from swarm.wire.peer_names import short_id

VERSION = 1
NOTHING = bytes(32)  # where a hash is none


@dataclass(frozen=True)
class Terms:
    """What is the same in all receipts of one hop for one opening of a session."""

    session: Bytes16
    attempt: UInt64  # Open.seq: a hop that is opened again, to be filled by a replay, makes another attempt
    peer: Address  # of the hop's key, which is the signer
    start: UInt32  # first block
    stop: UInt32  # one past the last
    weights: Bytes32  # root over the blocks' digests, see swarm/model/identity.py
    format: Text  # of the weights and of what is computed in, like "int4/bfloat16"
    numerics_id: Text
    wire_dtype: UInt32  # pb.DType of inputs and outputs
    quote: Bytes32  # SHA-256 of the directory record by which the client chose this peer; NOTHING if it named none

    def __repr__(self) -> str:
        session, blocks = self.session.hex()[:8], shown.span((self.start, self.stop))
        return f"<Terms of 0x{self.peer.hex()[:8]}, session {session}, blocks {blocks}, {self.format}>"

    @classmethod
    def of(cls, request: pb.Open, peer: bytes, weights: bytes, format: str, numerics_id: str) -> "Terms":
        """Of the hop that `request` opens. peer: address of its key. weights: root over the blocks' digests; empty: not
        known. format, numerics_id: as its directory record says them."""
        return cls(
            session=request.session_id,
            attempt=request.seq,
            peer=peer,
            start=request.start,
            stop=request.stop,
            weights=weights or NOTHING,
            format=format,
            numerics_id=numerics_id,
            wire_dtype=request.wire_dtype,
            quote=request.quote or NOTHING,
        )


class Tokens(NamedTuple):
    """Positions that a hop computed, by how they are priced."""

    prefill: int = 0
    decode: int = 0

    @classmethod
    def of(cls, count: int, prompt: bool) -> "Tokens":
        """Of a step. prompt: it is marked as part of one."""
        return cls(prefill=count) if prompt else cls(decode=count)

    def __add__(self, other: "Tokens") -> "Tokens":  # type: ignore[override]  # a sum, and not one after the other
        return Tokens(self.prefill + other.prefill, self.decode + other.decode)


@dataclass(frozen=True)
class Receipt:
    """One chunk of one hop."""

    terms: Terms
    index: UInt32  # of this hop's receipts since it was opened
    position: UInt32  # the first
    count: UInt32
    prefill: UInt32  # how many of these were part of a prompt, or a replay: what it may bill as prefill
    inputs: Bytes32  # Merkle root over the digests of the rows that came in, see swarm/wire/codec.py
    context: Bytes32  # of all chunks up to this one: two hops with the same have computed from the same inputs
    outputs: Bytes32  # Merkle root over the digests of the rows that went out
    sketch: Bytes32  # SHA-256 of the outputs' sketch, see swarm/verify/receipts/sketch.py
    upstream: Bytes32  # hash of the previous hop's receipt over the same positions, whose outputs are these inputs
    previous: Bytes32  # hash of this hop's previous receipt
    time_ms: UInt64  # when it was signed, by the hop's clock

    def __repr__(self) -> str:
        return f"<Receipt {self.in_words} by 0x{self.terms.peer.hex()[:8]}>"

    @property
    def in_words(self) -> str:
        """What it is for: "for blocks 0:10, positions 0:64"."""
        blocks, positions = (self.terms.start, self.terms.stop), (self.position, self.stop_position)
        return f"for blocks {shown.span(blocks)}, positions {shown.span(positions)}"

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return RECEIPT.hash(self)

    @property
    def words(self) -> bytes:
        """What a contract is given of it."""
        return RECEIPT.words(self)

    @property
    def stop_position(self) -> int:
        """One past the last position."""
        return self.position + self.count

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.prefill, self.count - self.prefill)

    @property
    def slot(self) -> tuple[bytes, bytes, int, int, int]:
        """What an honest hop signs one receipt for and no other: peer, session, first block, attempt, index."""
        return self.terms.peer, self.terms.session, self.terms.start, self.terms.attempt, self.index

    def sign(self, identity: Identity) -> "SignedReceipt":
        """Raises ValueError if the receipt is another peer's."""
        return SignedReceipt(self, RECEIPT.sign(self, identity), identity.peer_id)


RECEIPT = Format(
    Receipt, "a receipt", version=VERSION, signer="terms.peer",
    order=(
        "session", "attempt", "index", "peer", "start", "stop", "weights", "format", "numerics_id", "wire_dtype",
        "position", "count", "prefill", "inputs", "context", "outputs", "sketch", "upstream", "previous", "quote",
        "time_ms",
    ),
)  # fmt: skip
MAX_RECEIPT_BYTES = RECEIPT.max_bytes


@dataclass(frozen=True)
class SignedReceipt:
    """A receipt with a signature that has been checked: there is no other way to get one than `sign` and `decode`."""

    receipt: Receipt
    signature: bytes
    peer_id: str  # of the signer

    def __repr__(self) -> str:
        return f"<SignedReceipt {self.receipt.in_words} by {short_id(self.peer_id)}>"

    @property
    def blocks(self) -> tuple[int, int]:
        return self.receipt.terms.start, self.receipt.terms.stop

    @property
    def first_position(self) -> int:
        return self.receipt.position

    @property
    def count(self) -> int:
        return self.receipt.count

    def encode(self) -> bytes:
        """The canonical bytes: `decode` accepts these and no others for this receipt."""
        return RECEIPT.encode(self.receipt, self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "SignedReceipt":
        """The receipt in `data`, which is untrusted.

        Raises InvalidRequest if it is malformed, of another version, or not signed by the peer that it names.
        """
        receipt, signature = RECEIPT.decode(data)
        terms, count = receipt.terms, receipt.count
        if not (terms.start < terms.stop and 0 <= receipt.prefill <= count > 0 and receipt.stop_position < 2**32):
            raise InvalidRequest(f"a receipt for {count} positions of blocks {terms.start}:{terms.stop}")
        return cls(receipt, signature, RECEIPT.signer(receipt, signature))


def context_after(context: bytes, position: int, count: int, inputs: bytes) -> bytes:
    """A hop's context once it has computed one more chunk with these inputs. context: NOTHING before the first."""
    return hashlib.sha256(b"swarm/context/v1" + context + struct.pack(">II", position, count) + inputs).digest()


def sketch_hash(sketch: bytes) -> bytes:
    """What a receipt says of its sketch."""
    return hashlib.sha256(b"swarm/sketch/v1" + sketch).digest()


def is_equivocation(first: SignedReceipt, second: SignedReceipt) -> bool:
    """Whether two receipts together prove that their signer tells different people different things."""
    return first.receipt.slot == second.receipt.slot and first.receipt.hash != second.receipt.hash


def is_contradiction(first: SignedReceipt, second: SignedReceipt) -> bool:
    """Whether the second's signer acknowledged the first's receipt, and signed for other inputs than its outputs."""
    a, b = first.receipt, second.receipt
    same = (a.terms.session, a.terms.stop, a.position, a.count) == (b.terms.session, b.terms.start, b.position, b.count)
    return same and b.upstream == a.hash and b.inputs != a.outputs
