"""The book, as the contract's log tells it: pure, from events to entries."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from swarm.market.evm.logs import Event
from swarm.market.ledger.ledger import PER_MILLION, Entry, Posting, Rules
from swarm.wire.identity import ADDRESS_BYTES

OUTSIDE = bytes(ADDRESS_BYTES)
_INDEX_BITS = 20  # of an entry's number: the place in its block; above are the block's
# Events that are all part of one operation, if they are of one transaction.
_SEVERAL = ("Settle", "Emit")
# What moves the event's amount, and nothing else: from which account's bucket into which. None: the world outside.
_FLOWS: dict[str, tuple[tuple[str | None, str], tuple[str | None, str]]] = {
    "Mint": ((None, "minted"), ("to", "available")),
    "Emit": ((None, "minted"), ("to", "available")),
    "Redeem": (("by", "available"), (None, "burned")),
    "Burn": (("by", "available"), (None, "burned")),
    "Transfer": (("by", "available"), ("to", "available")),
    "OpenChannel": (("by", "available"), ("by", "escrowed")),
    "TopUp": (("by", "available"), ("by", "escrowed")),
    "Release": (("payer", "escrowed"), ("payer", "available")),
    "Close": (("by", "escrowed"), ("by", "available")),
    "Bond": (("by", "available"), ("by", "staked")),
    "Unbond": (("by", "staked"), ("by", "unbonding")),
    "Withdraw": (("by", "unbonding"), ("by", "available")),
}


@dataclass(frozen=True)
class Parties:
    """Who may do what: not in the events, since it never changes."""

    issuer: bytes
    arbiter: bytes
    rules: Rules


def first_block(number: int) -> int:
    """In which the entry with this number is."""
    return number >> _INDEX_BITS


def entries(events: Iterable[Event], parties: Parties, time_s: Callable[[int], int]) -> Iterator[Entry]:
    """events: in the chain's order. time_s: Unix time of a block."""
    for _, group in groupby(events, key=_operation):
        yield _entry(list(group), parties, time_s)


def kind_of(name: str) -> str:
    """The method of `Ledger` that makes such an event."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _operation(event: Event) -> tuple[object, ...]:
    return (event.transaction, event.name) if event.name in _SEVERAL else event.place


def _entry(events: Sequence[Event], parties: Parties, time_s: Callable[[int], int]) -> Entry:
    event = events[0]
    lines = tuple(line for one in events for line in postings(one, parties.rules) if line.amount)
    number = event.block << _INDEX_BITS | event.index
    details = {"all": [_details(one) for one in events]} if event.name in _SEVERAL else _details(event)
    return Entry(
        number, time_s(event.block) * 1000, kind_of(event.name), _by(event, parties), details, lines,
        event.transaction,
    )  # fmt: skip


def _by(event: Event, parties: Parties) -> bytes:
    if "by" in event.arguments:
        return event.address("by")
    return parties.arbiter if event.name == "Slash" else parties.issuer


def _details(event: Event) -> dict[str, object]:
    """The amount of a settlement is what it was worth."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in event.arguments.items()
        if name != "by"
    }


def postings(event: Event, rules: Rules) -> list[Posting]:
    """What it moved, in lines that add up to 0."""
    if event.name == "Settle":
        worth = event.number("amount")
        burned = worth * rules.burn_ppm // PER_MILLION
        return [
            Posting(event.address("payer"), "escrowed", -worth),
            Posting(event.address("payee"), "available", worth - burned),
            Posting(OUTSIDE, "burned", burned),
        ]
    if event.name in ("Slash", "SlashEquivocation"):
        staked, unbonding, offender = event.number("staked"), event.number("unbonding"), event.address("offender")
        reward = (staked + unbonding) * rules.reporter_ppm // PER_MILLION
        reporter = event.address("reporter" if event.name == "Slash" else "by")
        return [
            Posting(offender, "staked", -staked), Posting(offender, "unbonding", -unbonding),
            Posting(reporter, "available", reward), Posting(OUTSIDE, "burned", staked + unbonding - reward),
        ]  # fmt: skip
    if event.name not in _FLOWS:
        return []
    (source, out), (target, into) = _FLOWS[event.name]
    amount = event.number("amount")
    return [Posting(_party(event, source), out, -amount), Posting(_party(event, target), into, amount)]


def _party(event: Event, name: str | None) -> bytes:
    return OUTSIDE if name is None else event.address(name)
