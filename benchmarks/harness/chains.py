"""An EVM chain in this process, on which everybody is rich, and every transaction is a block."""

import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import zip_longest

import eth_utils
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed, ValidationError
from web3 import EthereumTesterProvider, Web3
from web3.types import RPCEndpoint, RPCResponse

from swarm.wire.identity import Identity

FORTUNE = 10**36  # wei

# Python's own limit. The EVM raised it a hundredfold when it was imported, and hostile JSON that others of this process
# read (a test of model files does) would then overflow the stack instead of being refused.
sys.setrecursionlimit(1000)


class _Node(EthereumTesterProvider):
    """Answers as nodes do: one question at a time (the tester is not made for threads), with an error instead of
    raising one, and about logs in no time: the tester would execute much of its chain again."""

    def __init__(self, tester: EthereumTester):
        super().__init__(tester)
        self.lock = threading.RLock()
        self._logs: list[list[Mapping]] = []  # of every block

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        with self.lock:
            try:
                if method == "eth_getLogs":
                    return {"jsonrpc": "2.0", "id": 0, "result": self._find(**params[0])}
                return super().make_request(method, params)
            except (TransactionFailed, ValidationError, eth_utils.ValidationError) as error:
                return {"jsonrpc": "2.0", "id": 0, "error": {"code": 3, "message": str(error)}}

    def _find(self, address: Sequence[str], from_block: int, to_block: int, topics: Sequence) -> list[Mapping]:
        tester = self.ethereum_tester
        while len(self._logs) <= to_block:
            hashes = tester.get_block_by_number(len(self._logs))["transactions"]
            self._logs.append([log for hash in hashes for log in tester.get_transaction_receipt(hash)["logs"]])
        logs = [log for block in self._logs[from_block : to_block + 1] for log in block if log["address"] in address]
        return [log for log in logs if _answers(log["topics"], topics)]


def _answers(topics: Sequence[str], wanted: Sequence[Sequence[str] | None]) -> bool:
    pairs = zip_longest(topics, wanted)
    return len(wanted) <= len(topics) and all(any_of is None or topic in any_of for topic, any_of in pairs)


def new_chain(identities: Iterable[Identity]) -> Web3:
    """A chain of its own, on which they have a fortune each."""
    account = {"balance": FORTUNE, "nonce": 0, "code": b"", "storage": {}}
    state = PyEVMBackend.generate_genesis_state() | {identity.address: account for identity in identities}
    state[os.urandom(20)] = account  # so that no two chains begin with the same block
    backend = PyEVMBackend(genesis_state=state)
    return Web3(_Node(EthereumTester(backend)))


@cache
def shared_chain(*identities: Identity) -> Web3:
    """One for all tests: contracts on it have nothing to do with each other."""
    return new_chain(identities)


def alone(web3: Web3) -> AbstractContextManager:
    """While the chain itself is meddled with, nobody asks it anything."""
    return web3.provider.lock


def advance(web3: Web3, seconds: int) -> None:
    """The chain's clock."""
    tester = web3.provider.ethereum_tester
    with alone(web3):
        tester.time_travel(tester.get_block_by_number("pending")["timestamp"] + seconds)
