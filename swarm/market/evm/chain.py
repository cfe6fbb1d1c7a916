"""One account's connection to a chain: what it asks a node, and what it has it send."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception, Web3RPCError
from web3.types import TxParams, TxReceipt, Wei

from swarm.errors import LedgerRefusal, PeerUnreachable
from swarm.market.evm.refusals import refusal
from swarm.market.evm.transaction import Transaction
from swarm.wire.identity import Identity

GWEI = 10**9  # wei
_LEAST_GAS = 21_000  # units, of any transaction
_MINED_S = 300.0  # that a transaction may take
_POLL_S = 0.5
_TRIES = 5  # to send one, if another process with the same key was faster
_TAKEN = ("nonce", "underpriced", "already known")  # what nodes say then


@dataclass
class _Numbers:
    """An account's transactions are numbered, whoever in this process sends them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    next: int = 0  # a node need not know yet what another, or it itself, has just been sent


_numbers: dict[tuple[bytes, bytes], _Numbers] = defaultdict(_Numbers)  # by a chain's first block, and address


@dataclass(frozen=True)
class Terms:
    """How to send transactions."""

    confirmations: int = 0  # blocks on top of that of a transaction, before it counts as done
    max_gas_price: int | None = None  # wei per unit of gas; None: what the chain asks for


@contextmanager
def answers() -> Iterator[None]:
    """What goes wrong inside is a LedgerRefusal, if the contract says so, or PeerUnreachable."""
    try:
        yield
    except ContractLogicError as error:
        raise refusal(error.message or "") from error
    except (Web3Exception, OSError, ValueError) as error:  # the last, if it answers no JSON, or no number
        raise PeerUnreachable(f"the chain's node does not answer as it should: {error!s:.300}") from error


class Chain:
    """Sends transactions in the name of `identity`. From any thread."""

    def __init__(self, web3: Web3, identity: Identity, terms: Terms):
        self.web3, self._identity, self._terms = web3, identity, terms
        with answers():
            self.id = web3.eth.chain_id
            self._numbers = _numbers[bytes(web3.eth.get_block(0)["hash"]), identity.address]

    def send(self, to: bytes, data: bytes, value: int = 0) -> TxReceipt:
        """Send it, and wait until it is in the chain, and confirmed. value: wei.

        Raises LedgerRefusal without having sent anything if it would fail, or costs more than there is, or than may be
        paid for gas; also if it fails all the same, because of what came first; PeerUnreachable as `Ledger` says.
        """
        with answers():
            with self._numbers.lock:
                hash = self._submit(to, data, value)
            receipt = self._confirmed(hash)
            if receipt["status"] != 1:
                # The same once more, to hear why.
                self.web3.eth.call(self._request(to, data, value), receipt["blockNumber"])
                raise LedgerRefusal(f"transaction {hash.hex()} failed, because of what was in the chain before it")
            return receipt

    def _submit(self, to: bytes, data: bytes, value: int) -> HexBytes:
        """Its hash."""
        eth, address = self.web3.eth, self._identity.address
        balance = eth.get_balance(Web3.to_checksum_address(address))
        tip, price = self._prices()
        _need_funds(address, balance, value + _LEAST_GAS * price)
        gas = eth.estimate_gas(self._request(to, data, value)) * 5 // 4
        _need_funds(address, balance, value + gas * price)
        tries = _TRIES
        while True:
            nonce = max(eth.get_transaction_count(Web3.to_checksum_address(address), "pending"), self._numbers.next)
            self._numbers.next = nonce + 1
            transaction = Transaction(self.id, nonce, tip, price, gas, to, value, data)
            try:
                return eth.send_raw_transaction(transaction.sign(self._identity))
            except Web3RPCError as error:
                tries -= 1
                if not tries or not any(word in str(error) for word in _TAKEN):
                    self._numbers.next = 0
                    raise

    def _request(self, to: bytes, data: bytes, value: int) -> TxParams:
        request = TxParams(
            {"from": Web3.to_checksum_address(self._identity.address), "data": data, "value": Wei(value)}
        )
        if to:
            request["to"] = Web3.to_checksum_address(to)
        return request

    def _prices(self) -> tuple[int, int]:
        """Tip and price in wei per unit of gas: enough for the price to double before the transaction is in."""
        base, tip = self.web3.eth.get_block("latest")["baseFeePerGas"], self.web3.eth.max_priority_fee
        limit = self._terms.max_gas_price
        if limit is not None and base + tip > limit:
            now, most = (base + tip) / GWEI, limit / GWEI
            raise LedgerRefusal(f"gas costs {now:.3g} gwei, and at most {most:.3g} may be paid; wait, or allow more")
        price = 2 * base + tip
        return tip, price if limit is None else min(price, limit)

    def _confirmed(self, hash: HexBytes) -> TxReceipt:
        deadline = time.monotonic() + _MINED_S
        try:
            self.web3.eth.wait_for_transaction_receipt(hash, timeout=_MINED_S, poll_latency=_POLL_S)
        except TimeExhausted:
            self._numbers.next = 0  # it may be lost, and then its number is free
            raise
        while True:
            # Asked for again: while it waits, the chain may put it into another block.
            receipt = self.web3.eth.get_transaction_receipt(hash)
            if self.web3.eth.block_number >= receipt["blockNumber"] + self._terms.confirmations:
                return receipt
            if time.monotonic() > deadline:
                raise PeerUnreachable(f"transaction {hash.hex()} is not confirmed after {_MINED_S:.0f} s")
            time.sleep(_POLL_S)


def _need_funds(address: bytes, balance: int, needed: int) -> None:
    if balance < needed:
        raise LedgerRefusal(
            f"0x{address.hex()} has {balance // GWEI} gwei on the chain, and this takes up to {-(-needed // GWEI)}; "
            "send it some"
        )
