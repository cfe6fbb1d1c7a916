"""What a client is told that does not go together: known before anything is loaded or anybody is asked. Imports nothing
heavy, for command lines are checked by it, too."""

from typing import Protocol

from swarm.errors import InvalidRequest
from swarm.program import option


class Told(Protocol):
    """Of the options of a client those that depend on one another, and what a command line has of them."""

    @property
    def receipts(self) -> bool: ...
    @property
    def audit(self) -> str | None: ...
    @property
    def ledger(self) -> str | None: ...
    @property
    def auction(self) -> bool: ...
    @property
    def max_price(self) -> int | None: ...
    @property
    def budget(self) -> int | str | None: ...
    @property
    def min_stake(self) -> int | str | None: ...


def check_terms(told: Told) -> None:
    """Raises InvalidRequest."""
    unsigned = option("receipts=False", "--no-receipts")
    if not told.receipts and told.audit not in (None, "off"):
        raise InvalidRequest(f"work without receipts cannot be audited: leave {unsigned} out, or {option('audit')}")
    wanted = _of_money(told)
    if not told.receipts and (told.ledger or wanted):
        paid = option(wanted) if wanted else f"{option('ledger')} and SWARM_LEDGER"
        raise InvalidRequest(f"work without receipts cannot be paid: leave {unsigned} out, or {paid}")
    if wanted and not told.ledger:
        raise InvalidRequest(f"{option(wanted)} needs a ledger; say which, with {option('ledger')} or SWARM_LEDGER")
    if told.auction and told.max_price is None:
        raise InvalidRequest(
            f"{option('auction')} needs {option('max_price')}, which a peer without a competitor is paid"
        )


def check_verify(verify: str | None, receipts: bool) -> None:
    """Raises InvalidRequest."""
    if verify and not receipts:
        unsigned = option("receipts=False", "--no-receipts")
        raise InvalidRequest(f"{option('verify')} checks work by its receipts: leave it out, or {unsigned}")


def _of_money(told: Told) -> str:
    """An option that was given, and is about a ledger; empty: there is none."""
    if told.auction:
        return "auction"
    if told.budget is not None:
        return "budget"
    return "" if told.min_stake is None else "min_stake"
