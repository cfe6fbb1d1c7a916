"""An EVM chain in this process, on which everybody is rich, and every transaction is a block."""

import threading
from collections.abc import Iterable
from functools import cache

import eth_utils
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed, ValidationError
from web3 import EthereumTesterProvider, Web3
from web3.types import RPCEndpoint, RPCResponse

from swarm.wire.identity import Identity

FORTUNE = 10**36  # wei


class _Node(EthereumTesterProvider):
    """Answers as nodes do: one question at a time (the tester is not made for threads), and with an error, instead of
    raising one."""

    def __init__(self, tester: EthereumTester):
        super().__init__(tester)
        self._lock = threading.RLock()

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        with self._lock:
            try:
                return super().make_request(method, params)
            except (TransactionFailed, ValidationError, eth_utils.ValidationError) as error:
                return {"jsonrpc": "2.0", "id": 0, "error": {"code": 3, "message": str(error)}}


def new_chain(identities: Iterable[Identity]) -> Web3:
    """A chain of its own, on which they have a fortune each."""
    account = {"balance": FORTUNE, "nonce": 0, "code": b"", "storage": {}}
    state = PyEVMBackend.generate_genesis_state() | {identity.address: account for identity in identities}
    backend = PyEVMBackend(genesis_state=state)
    return Web3(_Node(EthereumTester(backend)))


@cache
def shared_chain(*identities: Identity) -> Web3:
    """One for all tests: contracts on it have nothing to do with each other."""
    return new_chain(identities)


def advance(web3: Web3, seconds: int) -> None:
    tester = web3.provider.ethereum_tester
    tester.time_travel(tester.get_block_by_number("pending")["timestamp"] + seconds)
