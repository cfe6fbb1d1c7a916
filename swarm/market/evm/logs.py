"""What the contract has logged: read in ranges of blocks, since nodes do not answer for all of a chain at once."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eth_typing import HexStr
from web3 import Web3
from web3.contract import Contract
from web3.types import LogReceipt

SPAN = 10_000  # blocks in one question
_MAY_CHANGE = 64  # blocks at the end of a chain that may still be replaced by others: never remembered
Topics = tuple[tuple[bytes, ...] | None, ...]  # one of these in each place; None: anything


@dataclass(frozen=True)
class Event:
    """One line of the contract's log."""

    name: str  # as in the contract, "OpenChannel"
    arguments: Mapping[str, int | bytes]  # an address is 20 bytes
    block: int
    index: int  # within the block
    transaction: bytes  # its hash

    def number(self, name: str) -> int:
        """The argument `name`, which is one."""
        value = self.arguments[name]
        assert isinstance(value, int)
        return value

    def address(self, name: str) -> bytes:
        """The argument `name`, which is an address, or other bytes."""
        value = self.arguments[name]
        assert isinstance(value, bytes)
        return value

    @property
    def place(self) -> tuple[int, int]:
        return self.block, self.index


def word(value: int | bytes) -> bytes:
    """A number or an address, as it is in a topic."""
    return value.to_bytes(32) if isinstance(value, int) else value.rjust(32, b"\0")


class Logs:
    """created: number of the block in which the contract was made."""

    def __init__(self, contract: Contract, created: int, span: int = SPAN):
        self._contract, self._eth, self.created, self._span = contract, contract.w3.eth, created, span
        events = [contract.events[one["name"]]() for one in contract.abi if one["type"] == "event"]
        self._types = {bytes(Web3.to_bytes(hexstr=HexStr(event.topic))): event for event in events}
        self._topics = {event.event_name: topic for topic, event in self._types.items()}

    @property
    def last_block(self) -> int:
        return self._eth.block_number

    def topic(self, name: str) -> bytes:
        """Of all events of one name."""
        return self._topics[name]

    def decode(self, logs: Sequence[LogReceipt]) -> list[Event]:
        """Those that are the contract's own."""
        return [self._event(log) for log in logs if log["address"] == self._contract.address]

    def read(self, *questions: Topics, first: int = 0) -> Iterator[Event]:
        """What answers to any of the questions, each once, in the chain's order. first: number of a block."""
        last = self.last_block
        for start in range(max(first, self.created), last + 1, self._span):
            stop = min(start + self._span - 1, last)
            found = {event.place: event for topics in questions for event in self._ask(topics, start, stop)}
            yield from (found[place] for place in sorted(found))

    def _ask(self, topics: Topics, start: int, stop: int) -> list[Event]:
        encoded = [None if any_of is None else [Web3.to_hex(one) for one in any_of] for any_of in topics]
        return self.decode(self._eth.get_logs(
            {"address": self._contract.address, "fromBlock": start, "toBlock": stop, "topics": encoded}
        ))  # fmt: skip

    def _event(self, log: LogReceipt) -> Event:
        event = self._types[bytes(log["topics"][0])].process_log(log)
        arguments = {
            name: Web3.to_bytes(hexstr=HexStr(value)) if isinstance(value, str) else value
            for name, value in event["args"].items()
        }
        return Event(event["event"], arguments, log["blockNumber"], log["logIndex"], bytes(log["transactionHash"]))


class Seen:
    """All that answers to one question, of which what is old is asked for once."""

    def __init__(self, logs: Logs, topics: Topics):
        self._logs, self._topics = logs, topics
        self._events: list[Event] = []
        self._next = logs.created  # the first block that may hold others
        self._lock = threading.Lock()

    def read(self) -> list[Event]:
        with self._lock:
            last = self._logs.last_block
            new = list(self._logs.read(self._topics, first=self._next))
            everything = self._events + new
            self._next = max(self._next, last + 1 - _MAY_CHANGE)
            self._events = [event for event in everything if event.block < self._next]
            return everything
