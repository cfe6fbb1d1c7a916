"""Transactions, encoded and signed by the peer's own key, which stays where it is.

EIP-1559, https://eips.ethereum.org/EIPS/eip-1559: type 2, with an empty access list.
"""

from dataclasses import dataclass

import rlp

from swarm.wire.identity import Identity, keccak256

_TYPE = b"\x02"


@dataclass(frozen=True)
class Transaction:
    chain: int
    nonce: int
    tip: int  # wei per unit of gas, for who builds the block
    price: int  # wei per unit of gas, the tip included, at most
    gas: int  # units, at most
    to: bytes  # address; empty: makes a contract
    value: int  # wei
    data: bytes

    def sign(self, identity: Identity) -> bytes:
        """As a node takes it."""
        members = [self.chain, self.nonce, self.tip, self.price, self.gas, self.to, self.value, self.data, []]
        signature = identity.sign_hash(keccak256(_TYPE + rlp.encode(members)))
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
        return _TYPE + bytes(rlp.encode([*members, signature[64], r, s]))
