"""A client's parts for money: its wallet, what it knows of stakes, and its auctions."""

from collections.abc import Callable
from pathlib import Path

from swarm.client.config import ClientConfig
from swarm.generate.draft import Draft
from swarm.home import claimed_identity, client_identity, require_home
from swarm.market.auction.auctioneer import Auctioneer
from swarm.market.channel.delivery import PaidDelivery
from swarm.market.channel.observer import PaymentObserver
from swarm.market.channel.wallet import open_wallet
from swarm.market.ledger.opening import open_ledger
from swarm.market.slasher import Slasher
from swarm.market.stakes import make_stakes
from swarm.model.checkpoint import Checkpoint
from swarm.peers.policy import Terms
from swarm.session.observers import HopObserver, Observers
from swarm.session.opening import Choose
from swarm.session.router import Router
from swarm.session.wanted import Wanted
from swarm.verify.delivery import CheckedDelivery
from swarm.verify.receipts.observer import ReceiptObserver
from swarm.wire.formats.amounts import parse_amount


class Money:
    """Of one client, on one ledger."""

    def __init__(self, config: ClientConfig):
        """Raises InvalidRequest if the ledger cannot be opened, PeerUnreachable, SwarmError, also where this user has
        no place for what must not be forgotten."""
        require_home()
        assert config.ledger  # see swarm.client.terms
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


def endow(home: Path, where: str, stake: str) -> None:
    """Give the server that will start in `home` what it is to stake. Raises LedgerRefusal if this user cannot."""
    amount = parse_amount(stake)
    if not amount:
        return
    with claimed_identity(home / "identities" / "0.key") as (server, _):  # which is the one that it will take
        ledger = open_ledger(where, client_identity())
        try:
            give = ledger.mint if ledger.issuer == ledger.address else ledger.transfer
            give(server.address, amount)
        finally:
            ledger.shut()
