"""By what ledgers and channels are known: 32 bytes that nobody else's can have."""

from swarm.errors import InvalidRequest
from swarm.wire.identity import ADDRESS_BYTES, address_of, keccak256

_LEDGER = b"swarm-ledger/v1"


def ledger_id(issuer: bytes, nonce: bytes) -> bytes:
    """Of an embedded ledger. issuer: its address; nonce: 32 random bytes."""
    return keccak256(_LEDGER + issuer + nonce)


def channel_id(ledger: bytes, payer: bytes, payee: bytes, salt: bytes) -> bytes:
    """ledger: its id; payer, payee: addresses; salt: 32 bytes."""
    return keccak256(ledger + payer + payee + salt)


def parse_address(text: str) -> bytes:
    """The 20-byte address in "0x..." or of a peer id. Raises InvalidRequest."""
    if not text.startswith("0x"):
        return address_of(text)
    try:
        address = bytes.fromhex(text[2:])
    except ValueError:
        address = b""
    if len(address) != ADDRESS_BYTES:
        raise InvalidRequest(f"not an address: {text!r:.60}; write 0x and 40 hex digits, or a peer id")
    return address


def format_address(address: bytes) -> str:
    """ "0x" and hex digits."""
    return f"0x{address.hex()}"
