"""Taking the stake of peers that are proven to cheat, in the background."""

import asyncio
import logging
from collections.abc import Callable

from swarm.errors import LedgerRefusal, SwarmError
from swarm.market.charges import Charge, carry_out, require_arbiter, slash_proof
from swarm.market.ledger.ledger import Ledger
from swarm.program import option
from swarm.verify.audit.case import Case
from swarm.verify.fraud.proofs import EQUIVOCATION, Proof
from swarm.verify.fraud.slashing import Slashing
from swarm.wire.formats.amounts import format_amount
from swarm.wire.identity import address_of
from swarm.wire.tasks import TaskSet

logger = logging.getLogger(__name__)

MAX_KNOWN = 4096  # offences that are not brought up again


class Slasher(Slashing):
    """Of one client. Anybody may bring two receipts that exclude each other before the ledger, and the first who does
    gets the reporter's share; all else is the arbiter's business. Lives in one event loop."""

    def __init__(self, ledger: Ledger | None):
        """ledger: None: nothing is ever at stake."""
        self._ledger, self._is_arbiter = ledger, False
        self._known: dict[object, None] = {}  # what was brought up, oldest first
        self._running = TaskSet("slashing")

    def arbitrate(self) -> None:
        """From now on, slash for all that convicts. Raises LedgerRefusal if that is not for this client's key to do."""
        if self._ledger is None:
            raise LedgerRefusal(
                f"there is no stake without a ledger; say which, with {option('ledger')} or SWARM_LEDGER"
            )
        require_arbiter(self._ledger)
        self._is_arbiter = True

    def of_proof(self, proof: Proof, announcer: str) -> None:
        ledger = self._ledger
        if ledger is None:
            return
        key = proof.kind, proof.receipts[0].receipt.slot
        if proof.kind == EQUIVOCATION:
            first, second = proof.receipts
            self._begin(key, lambda: ledger.slash_equivocation(first, second))
        elif self._is_arbiter:
            self._begin(key, lambda: slash_proof(ledger, proof, address_of(announcer)))

    def of_evidence(self, case: Case, accuser: str) -> None:
        ledger = self._ledger
        if ledger is not None and self._is_arbiter:
            charge = Charge.of_work(case.receipts[-1], address_of(accuser))
            self._begin(charge.offence, lambda: carry_out(ledger, charge))

    async def close(self, grace_s: float) -> None:
        await self._running.idle(grace_s)

    def _begin(self, key: object, slash: Callable[[], int]) -> None:
        if key in self._known:
            return
        self._known[key] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._running.start(self._slash(key, slash))

    async def _slash(self, key: object, slash: Callable[[], int]) -> None:
        try:
            amount = await asyncio.to_thread(slash)
        except LedgerRefusal as refusal:  # somebody was faster, or there is nothing to take
            logger.info("nothing is slashed: %s", refusal)
        except SwarmError as error:
            logger.warning("the ledger could not be asked to slash: %s", error)
            self._known.pop(key, None)  # another time
        else:
            logger.warning("%s credits were slashed", format_amount(amount))
