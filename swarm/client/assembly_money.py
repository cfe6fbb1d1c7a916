"""A client's parts for money: its wallet, what it knows of stakes, and its auctions."""

from collections.abc import Callable

from swarm.client.config import ClientConfig
from swarm.generate.draft import Draft
from swarm.market.auction.auctioneer import Auctioneer
from swarm.market.channel.delivery import PaidDelivery
from swarm.market.channel.observer import PaymentObserver
from swarm.market.channel.wallet import open_wallet
from swarm.market.slasher import Slasher
from swarm.market.stakes import make_stakes
from swarm.model.checkpoint import Checkpoint
from swarm.peers.terms import Terms
from swarm.session.observers import HopObserver, Observers
from swarm.session.opening import Choose
from swarm.session.router import Router
from swarm.session.wanted import Wanted
from swarm.verify.delivery import CheckedDelivery
from swarm.verify.receipts.observer import ReceiptObserver


class Money:
    """Of one client, on one ledger."""

    def __init__(self, config: ClientConfig):
        """Raises InvalidRequest if the ledger is missing or cannot be opened, PeerUnreachable, SwarmError."""
        self.wallet = open_wallet(config.ledger, config.budget)
        self.stakes = make_stakes(self.wallet.ledger, config.min_stake, config.allow_unstaked)
        self.slasher = Slasher(self.wallet.ledger)

    def pay(self, receipts: ReceiptObserver, prompt_tokens: int) -> HopObserver:
        """The observer of a session that is paid by its receipts."""
        return Observers(receipts, PaymentObserver(self.wallet, receipts, prompt_tokens))

    def deliver(self, draft: Draft, checked: CheckedDelivery) -> PaidDelivery:
        """The delivery of a generation whose sessions are paid."""
        return PaidDelivery(draft, checked, self.wallet)

    def auction(
        self, router: Router, checkpoint: Checkpoint, terms: Terms, blocks: tuple[int, int], window_s: float
    ) -> Callable[[Wanted], Choose]:
        """Finds chains over `blocks` by auctions. Raises InvalidRequest for terms without a price."""
        return Auctioneer(router, checkpoint, terms, blocks, window_s).choose

    def close(self) -> None:
        self.wallet.close()
