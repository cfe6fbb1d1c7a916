"""A client's parts for trust: receipts, audits, and what follows from them."""

from typing import TYPE_CHECKING

from swarm.client.config import ClientConfig
from swarm.generate.delivery import Delivery
from swarm.generate.draft import Draft
from swarm.generate.options import GenerateOptions
from swarm.home import (
    digests_folder,
    evidence_folder,
    has_home,
    passing_identity,
    receipts_file,
    standing_file,
    thresholds_folder,
)
from swarm.model.checkpoint import Checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.peers.table import PeerTable
from swarm.verify.audit.auditing import LOCAL, Auditing, AuditOptions
from swarm.verify.audit.examiner import Examiner
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judges import LocalJudge, PeerJudges
from swarm.verify.delivery import CheckedDelivery
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.fraud.slashing import Slashing
from swarm.verify.fraud.verifier import FraudVerifier
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.reputation.store import ReputationStore

if TYPE_CHECKING:
    from swarm.client.assembly_money import Money


def open_reputation() -> ReputationStore:
    """What this user's clients know of peers; without a place for it, what this one learns."""
    return ReputationStore(standing_file() if has_home() else None)


def open_receipts() -> ReceiptStore:
    """What this user's clients were given; without a place for it, what this one is. Raises SwarmError."""
    return ReceiptStore(receipts_file() if has_home() else None)


class Trust:
    """Of one client. Lives in one event loop."""

    def __init__(
        self,
        config: ClientConfig,
        table: PeerTable,
        reputation: ReputationStore,
        receipts: ReceiptStore,
        checkpoint: Checkpoint,
        money: "Money | None",
    ):
        """money: None: nobody is paid, and nothing is at stake."""
        self._money, self.store, identity = money, receipts, passing_identity()
        slashing = money.slasher if money else Slashing()
        judge, verifier = None, None
        if checkpoint.local:
            judge, of_strangers = (LocalJudge(Expert(checkpoint, thresholds_folder())) for _ in range(2))
            digests = DigestCache(digests_folder())
            verifier = FraudVerifier(table, checkpoint, of_strangers, digests, evidence_folder(), slashing)
        peers = PeerJudges(table, checkpoint, config.limits, *((money.pay, money.stakes.of) if money else ()))
        self.penalties = Penalties(table, reputation, checkpoint, identity, evidence_folder(), verifier, slashing)
        examiner = Examiner(peers, judge, self.penalties, config.auditor == LOCAL)
        self.auditing = Auditing(examiner, self.penalties, AuditOptions(config.auditor, config.audit_rate))

    def deliver(self, draft: Draft, options: GenerateOptions) -> Delivery:
        """What stands between a generation and whoever waits for it."""
        checked = CheckedDelivery(draft, options, self.auditing, self.store.add)
        return self._money.deliver(draft, checked) if self._money else checked

    async def leave(self, grace_s: float) -> None:
        """Let audits that are under way end."""
        await self.auditing.close(grace_s)

    def close(self) -> None:
        self.store.close()
