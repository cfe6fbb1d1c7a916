"""A contract on the shared chain, and what is asked of it directly."""

from web3 import Web3

from harness.chains import shared_chain
from ledgers import KEYS
from swarm.market.evm.evm_ledger import EvmLedger


def chain() -> Web3:
    return shared_chain(*KEYS.values())


def contract(ledger: EvmLedger) -> bytes:
    return ledger._target


def ether(address: bytes) -> int:
    return chain().eth.get_balance(Web3.to_checksum_address(address))
