"""Putting the contract on a chain, and finding it there."""

from web3 import Web3
from web3.contract import Contract

from swarm.errors import InvalidRequest
from swarm.market.channel.vouchers import VOUCHER
from swarm.market.evm.artifact import load_contract
from swarm.market.evm.chain import Chain, Terms
from swarm.market.ledger.ledger import Rules
from swarm.wire.formats.eip712 import DOMAIN
from swarm.wire.formats.receipts import RECEIPT
from swarm.wire.identity import Identity

# What an honest hop signs one receipt for and no other, see Receipt.slot.
_SLOT = ("peer", "session", "start", "attempt", "index")
Types = tuple[bytes | int, ...]


def types() -> Types:
    """What the contract must know of the types that are signed here: `Types` in its source."""
    members = [member.name for member in RECEIPT.type.members]
    return DOMAIN, VOUCHER.type.type_hash, RECEIPT.type.type_hash, len(members), *map(members.index, _SLOT)


def deploy(web3: Web3, identity: Identity, rules: Rules, arbiter: bytes, terms: Terms | None = None) -> bytes:
    """Make a ledger, whose issuer is `identity`, which pays for it; returns the contract's address.

    arbiter: address. Raises LedgerRefusal, PeerUnreachable.
    """
    figures = (rules.withdraw_delay_s, rules.unbonding_s, rules.reporter_ppm, rules.burn_ppm)
    artifact = load_contract()
    contract = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    data = contract.constructor(Web3.to_checksum_address(arbiter), figures, types()).data_in_transaction
    receipt = Chain(web3, identity, terms or Terms()).send(b"", Web3.to_bytes(hexstr=data))
    return Web3.to_bytes(hexstr=receipt["contractAddress"])


def contract_at(web3: Web3, address: bytes) -> Contract:
    """Raises InvalidRequest if there is none."""
    checksummed = Web3.to_checksum_address(address)
    if not web3.eth.get_code(checksummed):
        raise InvalidRequest(f"there is no contract at {checksummed} on chain {web3.eth.chain_id}")
    return web3.eth.contract(checksummed, abi=load_contract()["abi"])
