"""A server's business: what it asks for its work, as demand changes, and its till."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from swarm.economy.books import open_ledger
from swarm.economy.claims import MAX_CLAIMS, pack_claims
from swarm.economy.committing import Committer
from swarm.economy.ledger import DAY_S
from swarm.economy.payment_store import PaymentStore
from swarm.economy.pricing.policy import PERIOD_S, Demand, Pricing
from swarm.economy.quotes import CREDIT_TOKENS, Quote
from swarm.errors import SwarmError
from swarm.route.local import commitments_folder, payments_file
from swarm.server.till import SETTLE_EVERY_S, Till
from swarm.wire.identity import Identity
from swarm.wire.session_id import MAX_AGE_S

ATTEND_EVERY_S = 5.0  # to the ledger's epochs


@dataclass(frozen=True)
class TradeOptions:
    """What a contributor wants for the work of a server."""

    ledger: str  # where it is paid, see swarm.economy.books
    pricing: Pricing
    credit_tokens: int = CREDIT_TOKENS
    settle_every_s: float = SETTLE_EVERY_S
    epoch_s: float = DAY_S  # that the ledger's epochs last; only with contribution


class Trade:
    """Of one server. Lives in the event loop."""

    def __init__(self, options: TradeOptions, till: Till, ledger_id: bytes, shut: Callable[[], None]):
        self.till, self._options, self._ledger_id, self._shut = till, options, ledger_id, shut
        self._pricing, self._demand = options.pricing, Demand(0.0)
        self._committer: Committer | None = None

    @classmethod
    async def open(cls, options: TradeOptions, identity: Identity) -> "Trade":
        """Raises SwarmError if the ledger cannot be opened."""
        ledger = await asyncio.to_thread(open_ledger, options.ledger, identity)
        store = PaymentStore(payments_file(identity.peer_id))

        def shut() -> None:
            store.close()
            ledger.shut()

        trade = cls(options, Till(ledger, store, options.settle_every_s), ledger.id, shut)
        if options.pricing.mode == "contribution":
            compose = partial(_claims, ledger.id, store, options.epoch_s)
            trade._committer = Committer(ledger, commitments_folder(), options.epoch_s, compose)
        return trade

    def quote(self) -> Quote:
        """What it asks now."""
        return Quote(
            self._ledger_id, self._pricing.mode, self._pricing.price, self._pricing.idle_price(self._demand),
            self._options.credit_tokens,
        )  # fmt: skip

    async def reprice(self, demand: Callable[[], Demand]) -> None:
        """Follow demand, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self._demand = demand()
            self._pricing = self._pricing.observe(self._demand)

    def work(self, demand: Callable[[], Demand]) -> list[Coroutine[object, object, None]]:
        """All that goes on until it is cancelled."""
        claiming = [self._claim(self._committer)] if self._committer else []
        return [self.till.run(), self.reprice(demand), *claiming]

    async def _claim(self, committer: Committer) -> None:
        """Claim points for work that clients acknowledged."""
        while True:
            await asyncio.to_thread(committer.attend)
            await asyncio.sleep(min(ATTEND_EVERY_S, self._options.epoch_s / 10))

    async def close(self) -> None:
        """Get paid for what is not settled yet, if the ledger answers; else it is settled next time."""
        try:
            with suppress(SwarmError):
                await self.till.settle()
        finally:
            await asyncio.to_thread(self._shut)


def _claims(ledger_id: bytes, store: PaymentStore, epoch_s: float, epoch: int) -> bytes | None:
    """The payload for an epoch that is running; what is too old to count in it is forgotten."""
    oldest_ms = int((time.time() - epoch_s - MAX_AGE_S) * 1000)
    taken = store.take_acknowledgements(ledger_id, max(oldest_ms, 0).to_bytes(6), MAX_CLAIMS)
    return pack_claims(taken) if taken else None
