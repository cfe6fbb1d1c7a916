"""What a client signs for work that has no price: so many block-tokens of one server, in one session.

It is no voucher: nothing can be paid out on it. A server and a client that belong together can sign for work that
nobody did; see swarm.market.pricing.contribution for what that brings.
"""

from dataclasses import dataclass
from functools import cached_property

from swarm.errors import InvalidRequest
from swarm.wire.formats.signed import Address, Bytes16, Bytes32, Format, UInt32, UInt64
from swarm.wire.identity import Identity

MAX_BLOCK_TOKENS = 2**27  # of one session on one hop: 128 Ki tokens through 1,024 blocks


@dataclass(frozen=True)
class Acknowledgement:
    """`client` got so much work from `server`."""

    ledger: Bytes32  # id of the one that the server counts points on
    client: Address
    server: Address
    session: Bytes16  # begins with the time
    start: UInt32  # first block: a server may be several hops of a session
    attempt: UInt64  # Open.seq
    block_tokens: UInt64
    receipt: Bytes32  # hash of the server's last receipt for it, which names those before it

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that are signed."""
        return ACKNOWLEDGEMENT.hash(self)

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
        return SignedAcknowledgement(self, ACKNOWLEDGEMENT.sign(self, identity))


ACKNOWLEDGEMENT = Format(Acknowledgement, "an acknowledgement", signer="client")
ACKNOWLEDGEMENT_BYTES = ACKNOWLEDGEMENT.max_bytes


@dataclass(frozen=True)
class SignedAcknowledgement:
    """With a signature that has been checked: made by `Acknowledgement.sign` and `decode` only."""

    acknowledgement: Acknowledgement
    signature: bytes

    def encode(self) -> bytes:
        return ACKNOWLEDGEMENT.encode(self.acknowledgement, self.signature)

    @classmethod
    def decode(cls, data: bytes) -> "SignedAcknowledgement":
        """The acknowledgement in `data`, which is untrusted. Raises InvalidRequest."""
        one, signature = ACKNOWLEDGEMENT.decode(data)
        if not 0 < one.block_tokens <= MAX_BLOCK_TOKENS:
            raise InvalidRequest(f"{one.block_tokens} block-tokens in one session; at most {MAX_BLOCK_TOKENS}")
        ACKNOWLEDGEMENT.signer(one, signature)
        return cls(one, signature)
