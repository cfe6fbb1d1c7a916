"""Receipts: what a hop signs of what came in and what went out.

A receipt covers a chunk, which is consecutive positions of one session on one hop. It proves who sent what, not that it
was computed rightly: for that, `inputs` and `outputs` are what an audit compares with.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from swarm.errors import InvalidRequest
from swarm.wire.formats.eip712 import Struct
from swarm.wire.identity import SIGNATURE_BYTES, Identity, address_of, signer_of_hash

VERSION = 1
NOTHING = bytes(32)  # where a hash is none
MAX_WORD_BYTES = 128  # of format and numerics id

TYPE = Struct(
    "Receipt",
    ("bytes16", "session"), ("uint64", "attempt"), ("uint32", "index"), ("address", "peer"), ("uint32", "start"),
    ("uint32", "stop"), ("bytes32", "weights"), ("string", "format"), ("string", "numericsId"), ("uint32", "wireDtype"),
    ("uint32", "position"), ("uint32", "count"), ("uint32", "prefill"), ("bytes32", "inputs"), ("bytes32", "context"),
    ("bytes32", "outputs"), ("bytes32", "sketch"), ("bytes32", "upstream"), ("bytes32", "previous"),
    ("bytes32", "quote"), ("uint64", "timeMs"),
)  # fmt: skip
# The canonical encoding: version, the members of fixed size in this order, the two words with their lengths, signature.
_FIXED = struct.Struct(">B16sQI20sII32sIIII32s32s32s32s32s32s32sQ")
MAX_RECEIPT_BYTES = _FIXED.size + 2 * (1 + MAX_WORD_BYTES) + SIGNATURE_BYTES


@dataclass(frozen=True)
class Terms:
    """What is the same in all receipts of one hop for one opening of a session."""

    session: bytes  # 16 bytes
    attempt: int  # Open.seq: a hop that is opened again, to be filled by a replay, makes another attempt
    peer: bytes  # 20-byte EVM address of the hop's key, which is the signer
    start: int  # first block
    stop: int  # one past the last
    weights: bytes  # root over the blocks' digests, see swarm/model/identity.py
    format: str  # of the weights and of what is computed in, like "int4/bfloat16"
    numerics_id: str
    wire_dtype: int  # pb.DType of inputs and outputs
    quote: bytes  # SHA-256 of the directory record by which the client chose this peer; NOTHING if it named none


class Tokens(NamedTuple):
    """Positions that a hop computed, by how they are priced."""

    prefill: int = 0
    decode: int = 0

    @classmethod
    def of(cls, count: int, prompt: bool) -> "Tokens":
        """Of a step. prompt: it is marked as part of one."""
        return cls(prefill=count) if prompt else cls(decode=count)

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prefill + other.prefill, self.decode + other.decode)


@dataclass(frozen=True)
class Receipt:
    """One chunk of one hop. The hashes are 32 bytes each."""

    terms: Terms
    index: int  # of this hop's receipts since it was opened
    position: int  # the first
    count: int
    prefill: int  # how many of these were part of a prompt, or a replay: what it may bill as prefill
    inputs: bytes  # Merkle root over the digests of the rows that came in, see swarm/wire/codec.py
    context: bytes  # of all chunks up to this one: two hops with the same have computed from the same inputs
    outputs: bytes  # of those that went out
    sketch: bytes  # SHA-256 of the outputs' sketch, see swarm/verify/receipts/sketch.py
    upstream: bytes  # hash of the previous hop's receipt over the same positions, whose outputs are these inputs
    previous: bytes  # hash of this hop's previous receipt
    time_ms: int  # when it was signed, by the hop's clock

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return TYPE.hash_words(self.words)

    @property
    def words(self) -> bytes:
        """All members in the order of TYPE, 32 bytes each, as a contract hashes them."""
        t = self.terms
        return TYPE.words((
            t.session, t.attempt, self.index, t.peer, t.start, t.stop, t.weights, t.format, t.numerics_id, t.wire_dtype,
            self.position, self.count, self.prefill, self.inputs, self.context, self.outputs, self.sketch,
            self.upstream, self.previous, t.quote, self.time_ms,
        ))  # fmt: skip

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
        if identity.address != self.terms.peer:
            raise ValueError("a receipt is signed by the peer that it names")
        return SignedReceipt(self, identity.sign_hash(self.hash), identity.peer_id)


@dataclass(frozen=True)
class SignedReceipt:
    """A receipt with a signature that has been checked: there is no other way to get one than `sign` and `decode`."""

    receipt: Receipt
    signature: bytes
    peer_id: str  # of the signer

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
        r, t = self.receipt, self.receipt.terms
        fixed = _FIXED.pack(
            VERSION, t.session, t.attempt, r.index, t.peer, t.start, t.stop, t.weights, t.wire_dtype, r.position,
            r.count, r.prefill, r.inputs, r.context, r.outputs, r.sketch, r.upstream, r.previous, t.quote, r.time_ms,
        )  # fmt: skip
        words = b"".join(bytes([len(word)]) + word for word in (t.format.encode(), t.numerics_id.encode()))
        return fixed + words + self.signature

    @classmethod
    def decode(cls, data: bytes) -> "SignedReceipt":
        """The receipt in `data`, which is untrusted.

        Raises InvalidRequest if it is malformed, of another version, or not signed by the peer that it names.
        """
        receipt, signature = _parse(data)
        peer_id = signer_of_hash(receipt.hash, signature)
        if address_of(peer_id) != receipt.terms.peer:
            raise InvalidRequest("a receipt that is not signed by the peer that it names")
        return cls(receipt, signature, peer_id)


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


def _parse(data: bytes) -> tuple[Receipt, bytes]:
    if not _FIXED.size + 2 + SIGNATURE_BYTES <= len(data) <= MAX_RECEIPT_BYTES:
        raise InvalidRequest(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes, and not {len(data)}")
    if data[0] != VERSION:
        raise InvalidRequest(f"a receipt of version {data[0]}; this software reads {VERSION}")
    (
        _, session, attempt, index, peer, start, stop, weights, wire_dtype, position, count, prefill, inputs, context,
        outputs, sketch, upstream, previous, quote, time_ms,
    ) = _FIXED.unpack_from(data)  # fmt: skip
    words, offset = [], _FIXED.size
    for _ in range(2):
        word = data[offset + 1 : offset + 1 + data[offset]] if offset < len(data) else b""
        words.append(_text(word))
        offset += 1 + len(word)
    signature = data[offset:]
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidRequest("a receipt whose parts do not fill its length")
    if not (start < stop and 0 <= prefill <= count and count > 0 and position + count < 2**32):
        raise InvalidRequest(f"a receipt for {count} positions of blocks {start}:{stop}")
    terms = Terms(session, attempt, peer, start, stop, weights, words[0], words[1], wire_dtype, quote)
    receipt = Receipt(
        terms, index, position, count, prefill, inputs, context, outputs, sketch, upstream, previous, time_ms
    )  # fmt: skip
    return receipt, signature


def _text(word: bytes) -> str:
    """Printable ASCII: a receipt is shown to people, and must not write over their terminal."""
    if len(word) > MAX_WORD_BYTES or not all(32 <= byte < 127 for byte in word):
        raise InvalidRequest("a receipt with a format or numerics id that is not short plain text")
    return word.decode()
