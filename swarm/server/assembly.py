"""What a server is put together from: the core, which computes, and around it what signs for the work, keeps evidence
for others, and has the work paid.

The only module here that knows of verification and of money, and it imports them where they are asked for: a server
that works for nothing and signs nothing runs without a line of either.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swarm.home import receipts_file, stored_evidence_folder
from swarm.home.folder import writing_to
from swarm.model.blocks import BlockRange
from swarm.model.kv_cache import PagePool
from swarm.route.peer import PeerInfo
from swarm.server.config import WRITING_S, Parts
from swarm.server.observers import Payee, WorkObserver
from swarm.server.refusals import refuse_deposit, refuse_tender, refuse_withdrawal
from swarm.server.rpc import Handler, Limits
from swarm.server.scheduler.scheduler import OnBatch, Scheduler
from swarm.server.served import Served
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.facts import Attester, Facts
from swarm.wire.identity import Identity
from swarm.wire.tasks import within
from swarm.wire.tls import Certificate

if TYPE_CHECKING:
    from swarm.market.billing import BillingOptions
    from swarm.verify.receipts.work import NewWriter

Method = Callable[[Any, Any], Awaitable[Any]]  # of the service, as gRPC calls it


@dataclass(frozen=True)
class Surroundings:
    """Of one server's core."""

    observer: WorkObserver  # of what it computes
    deposit: Method = refuse_deposit
    withdraw: Method = refuse_withdrawal
    tender: Method = refuse_tender


def make_handler(
    served: Served,
    blocks: BlockRange,
    pool: PagePool,
    limits: Limits,
    around: Surroundings,
    parts: Parts,
    describe: Callable[[pb.StatusRequest, str], pb.Status],
    on_batch: OnBatch,
    member: Certificate | None,
) -> Handler:
    """The core over `blocks`. describe: what Status says beside the load, see Handler. on_batch: see Scheduler.
    member: in a private swarm, the server's certificate."""
    scheduler = Scheduler(
        parts.runner(blocks, pool), lambda session: pool.free(session.reservation.pages), limits.batch, on_batch
    )
    return Handler(served, scheduler, pool, limits, around.observer, describe, member, parts.session)


async def open_payee(
    options: "BillingOptions | None", identity: Identity, record: Callable[[], PeerInfo], stack: AsyncExitStack
) -> Payee:
    """options: None: the work is done for nothing. record: what the server announces now. Raises SwarmError if the
    ledger cannot be opened, PaymentRequired if there is not enough there to stake."""
    if options is None:
        return Payee()
    from swarm.market.billing import Billing

    billing = await Billing.open(options, identity, record)
    stack.push_async_callback(billing.close)
    return billing


async def surround(
    served: Served,
    identity: Identity,
    payee: Payee,
    receipts: bool,
    new_writer: "NewWriter | None",
    stack: AsyncExitStack,
) -> Surroundings:
    """receipts: whether the server signs for its work, as one does that is paid."""
    if not receipts:
        return Surroundings(WorkObserver())
    from swarm.verify.fraud.evidence_store import EvidenceStore
    from swarm.verify.receipts.store import ReceiptStore
    from swarm.verify.receipts.work import ReceiptObserver
    from swarm.verify.receipts.writing import ReceiptWriter

    store = await asyncio.to_thread(ReceiptStore, receipts_file(identity.peer_id))
    stack.push_async_callback(within, WRITING_S, "writing receipts", asyncio.to_thread, store.close)
    with writing_to(stored_evidence_folder()):
        evidence = EvidenceStore(served.peer, stored_evidence_folder())
    signing = ReceiptObserver(identity, served, store, new_writer or ReceiptWriter)
    return Surroundings(payee.paid(signing), evidence.deposit, evidence.withdraw, payee.tender)


def attest(attester: Attester, facts: Facts) -> bytes:
    """Evidence of what runs here, about `facts`. Takes its time. Raises SwarmError."""
    from swarm.verify.attestation import attest

    return attest(attester, facts)
