"""What a client signs for work that has no price: so many block-tokens of one server, in one session.

It is no voucher: nothing can be paid out on it. A server and a client that belong together can sign for work that
nobody did; see swarm.market.pricing.contribution for what that brings.
"""

import struct
from dataclasses import dataclass
from functools import cached_property

from swarm.errors import InvalidRequest
from swarm.wire.formats.eip712 import Struct
from swarm.wire.identity import SIGNATURE_BYTES, Identity, address_of, signer_of_hash

MAX_BLOCK_TOKENS = 2**27  # of one session on one hop: 128 Ki tokens through 1,024 blocks
TYPE = Struct(
    "Acknowledgement",
    ("bytes32", "ledger"), ("address", "client"), ("address", "server"), ("bytes16", "session"), ("uint32", "start"),
    ("uint64", "attempt"), ("uint64", "blockTokens"), ("bytes32", "receipt"),
)  # fmt: skip
_FIXED = struct.Struct(">32s20s20s16sIQQ32s")
ACKNOWLEDGEMENT_BYTES = _FIXED.size + SIGNATURE_BYTES


@dataclass(frozen=True)
class Acknowledgement:
    """`client` got so much work from `server`."""

    ledger: bytes  # id of the one that the server counts points on, 32 bytes
    client: bytes  # addresses
    server: bytes
    session: bytes  # 16 bytes, which begin with the time
    start: int  # first block: a server may be several hops of a session
    attempt: int  # Open.seq
    block_tokens: int
    receipt: bytes  # hash of the server's last receipt for it, which names those before it

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return TYPE.hash((
            self.ledger, self.client, self.server, self.session, self.start, self.attempt, self.block_tokens,
            self.receipt,
        ))  # fmt: skip

    @property
    def work(self) -> tuple[bytes, bytes, int, int]:
        """What counts once, whatever is signed for it."""
        return self.server, self.session, self.start, self.attempt

    @property
    def begun_ms(self) -> int:
        """When the session began, by the client's clock."""
        return int.from_bytes(self.session[:6])

    def sign(self, identity: Identity) -> "SignedAcknowledgement":
        """Raises ValueError if it is another client's."""
        if identity.address != self.client:
            raise ValueError("an acknowledgement is signed by the client that it names")
        return SignedAcknowledgement(self, identity.sign_hash(self.hash))


@dataclass(frozen=True)
class SignedAcknowledgement:
    """With a signature that has been checked: made by `Acknowledgement.sign` and `decode` only."""

    acknowledgement: Acknowledgement
    signature: bytes

    def encode(self) -> bytes:
        a = self.acknowledgement
        return _FIXED.pack(
            a.ledger, a.client, a.server, a.session, a.start, a.attempt, a.block_tokens, a.receipt
        ) + self.signature  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> "SignedAcknowledgement":
        """The acknowledgement in `data`, which is untrusted. Raises InvalidRequest."""
        if len(data) != ACKNOWLEDGEMENT_BYTES:
            raise InvalidRequest(f"an acknowledgement has {ACKNOWLEDGEMENT_BYTES} bytes, and not {len(data)}")
        one, signature = Acknowledgement(*_FIXED.unpack_from(data)), data[_FIXED.size :]
        if not 0 < one.block_tokens <= MAX_BLOCK_TOKENS:
            raise InvalidRequest(f"{one.block_tokens} block-tokens in one session; at most {MAX_BLOCK_TOKENS}")
        if address_of(signer_of_hash(one.hash, signature)) != one.client:
            raise InvalidRequest("an acknowledgement that is not signed by the client that it names")
        return cls(one, signature)
