"""Payment of a generation's sessions."""

from swarm.generate.delivery import Delivery
from swarm.generate.draft import Draft
from swarm.market.channel.observer import PaymentObserver
from swarm.market.channel.wallet import Wallet
from swarm.session.observers import HopObserver, Observers
from swarm.session.session import Session
from swarm.verify.delivery import CheckedDelivery


class PaidDelivery(Delivery):
    """A checked one, whose sessions are paid by what was checked."""

    def __init__(self, draft: Draft, checked: CheckedDelivery, wallet: Wallet):
        self._generation, self._checked, self._wallet = draft.generation, checked, wallet
        self._payment: PaymentObserver | None = None  # of the session of the moment

    def observe(self, prompt_tokens: int) -> HopObserver:
        receipts = self._checked.observe(prompt_tokens)
        self._payment = PaymentObserver(self._wallet, receipts, prompt_tokens)
        return Observers(receipts, self._payment)

    def begin(self, session: Session) -> None:
        self._checked.begin(session)

    async def admit(self, session: Session, piece: str) -> str | None:
        return await self._checked.admit(session, piece)

    def rewind(self) -> None:
        self._checked.rewind()

    async def finish(self, session: Session) -> None:
        await self._checked.finish(session)
        self._report()

    def abandon(self, session: Session) -> None:
        self._checked.abandon(session)
        self._report()

    def _report(self) -> None:
        if self._payment:
            self._generation.payments += self._payment.payments()
