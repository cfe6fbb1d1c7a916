"""How a client is put together: the parts that generate, and around them those for trust and money that it wants.

What checks and what pays is loaded by name, and only where it is wanted: a client without receipts runs without a line
of it.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from swarm.client.background import wait
from swarm.client.config import ClientConfig
from swarm.client.joining import Joining
from swarm.commands import Membership
from swarm.errors import NoRoute, PeerUnreachable, RevisionMismatch
from swarm.generate.delivery import Seams
from swarm.generate.generator import Generator
from swarm.generate.heads import HeadPool
from swarm.generate.local_blocks import LocalBlocks
from swarm.generate.text import NoText, Tokenizer
from swarm.home import digests_folder
from swarm.model.checkpoint import Checkpoint, open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.ends import ModelEnds
from swarm.peers.chosen import Chosen
from swarm.peers.directory import Directory
from swarm.peers.policy import PeerPolicy, Signing, Terms
from swarm.peers.table import PeerTable
from swarm.session.coverage import Waits
from swarm.session.router import OpenSessions, Router
from swarm.storage.files import expanded
from swarm.wire.codec import DTYPES
from swarm.wire.tls import make_certificate

if TYPE_CHECKING:
    from swarm.client.assembly_money import Money
    from swarm.client.assembly_trust import Trust
    from swarm.model.tokenizer import AnyTokenizer


_MONEY, _TRUST, _ATTESTED = "swarm.client.assembly_money", "swarm.client.assembly_trust", "swarm.verify.attested"


@dataclass(frozen=True)
class Parts:
    """What a client is made of."""

    checkpoint: Checkpoint
    tokenizer: "AnyTokenizer | None"  # None: a folder without one
    router: Router
    heads: HeadPool
    local: LocalBlocks | None  # the blocks that it computes itself
    trust: "Trust | None"  # None: without receipts
    money: "Money | None"  # None: for peers that work for nothing
    generator: Generator

    async def load_ends(self) -> ModelEnds:
        """Load what the peers of the moment call for, so that the first prompt need not wait for it. Raises
        ModelError."""
        await self.router.table.refresh()
        try:
            peers = self.router.table.usable()
        except (NoRoute, RevisionMismatch):  # said when somebody wants to generate: peers may come until then
            peers = []
        if self.local and peers:
            await self.local.prepare(peers)
        return (await self.heads.for_chain(peers)).ends

    async def leave(self, grace_s: float) -> None:
        """Leave the swarm. grace_s: that audits under way get."""
        if self.trust:
            await self.trust.leave(grace_s)
        await self.router.close()

    def close(self) -> None:
        """Let go of files and threads, after `leave`."""
        if self.trust:
            self.trust.close()
        self.heads.close()
        if self.local:
            self.local.close()
        if self.money:
            self.money.close()


def assemble(config: ClientConfig, joining: Joining) -> Parts:
    """Open the model and wait for the swarm's members, see ClientLimits.coverage_timeout_s. joining: to be given up if
    this fails. Raises ModelError, PeerUnreachable, InvalidRequest, PrivateSwarm for a secret that is missing or
    wrong."""
    checkpoint = open_checkpoint(config.model, config.revision)
    local = _local_blocks(config, checkpoint)
    joining.check()
    money: Money | None = import_module(_MONEY).Money(config) if config.uses_money else None
    undo = AsyncExitStack()
    try:
        return wait(_put_together(config, checkpoint, local, money, joining, undo))
    except BaseException:
        wait(undo.aclose())
        if money:
            money.close()
        raise


async def _put_together(
    config: ClientConfig,
    checkpoint: Checkpoint,
    local: LocalBlocks | None,
    money: "Money | None",
    joining: Joining,
    undo: AsyncExitStack,
) -> Parts:
    """undo: to be closed if this fails: what was begun would go on."""
    tokenizer = await asyncio.to_thread(checkpoint.find_tokenizer)
    terms = _terms(config, money)
    trusting = await asyncio.to_thread(import_module, _TRUST) if config.receipts else None
    directory = await joining.directory()
    if expanded(config.model).exists():
        checkpoint = await _as_served(checkpoint, directory)
    sessions = OpenSessions()
    reputation = await asyncio.to_thread(trusting.open_reputation) if trusting else None
    receipts = await asyncio.to_thread(trusting.open_receipts) if trusting else None
    digests = DigestCache(digests_folder()) if checkpoint.local else None
    member = make_certificate(joining.secret) if joining.secret else None
    policies = _policies(config, terms, money)
    membership = Membership(config.model, joining.given, joining.members, joining.secret is not None, config.revision)
    table = PeerTable(directory, checkpoint, policies, reputation, digests, member, sessions.by_peer, membership)
    undo.push_async_callback(table.close)
    blocks = (local.start, local.stop) if local else (0, checkpoint.config.num_blocks)
    wire_bytes = DTYPES[config.wire_dtype or config.dtype or "float32"].itemsize
    router = Router(table, terms, checkpoint.config.hidden_size * wire_bytes, blocks, sessions, Waits(joining.ended))
    trust: Trust | None = trusting.Trust(config, table, reputation, receipts, checkpoint, money) if trusting else None
    choose = None
    if money and config.auction:
        choose = money.auction(router, checkpoint, terms, blocks, config.limits.bidding_s)
    seams = Seams(trust.deliver, choose) if trust else Seams()
    heads = HeadPool(checkpoint, config.head)
    # Which says that it may return several texts: for several lists it does.
    decoder = cast(Tokenizer, tokenizer) if tokenizer else NoText()
    generator = Generator(checkpoint, decoder, router, heads, config.limits, config.wire_dtype, local, seams)
    return Parts(checkpoint, tokenizer, router, heads, local, trust, money, generator)


async def _as_served(checkpoint: Checkpoint, directory: Directory) -> Checkpoint:
    """By the name that peers know the model by: a copy in a folder of another name is the same model. Where somebody
    serves it by its own, it is left at that."""
    try:
        if await directory.peers(checkpoint.name, joining=True):
            return checkpoint
        names = await directory.names_of(checkpoint.revision)
    except PeerUnreachable:  # said when somebody wants to generate
        names = []
    return checkpoint.called(names[0]) if names else checkpoint


def _local_blocks(config: ClientConfig, checkpoint: Checkpoint) -> LocalBlocks | None:
    if not any(config.local_blocks):
        return None
    kv_bytes = config.limits.local_kv_bytes
    return LocalBlocks(checkpoint, *config.local_blocks, quant=config.quant, dtype=config.dtype, kv_bytes=kv_bytes)


def _policies(config: ClientConfig, terms: Terms, money: "Money | None") -> list[PeerPolicy]:
    """Which peers may be used, asked in this order."""
    policies: list[PeerPolicy] = [Signing()] if config.receipts else []
    policies += [Chosen(config.trusted, config.excluded), terms]
    if config.attestation:
        policies.append(import_module(_ATTESTED).Attested(config.attestation))
    if money:
        policies.append(money.stakes)
    return policies


def _terms(config: ClientConfig, money: "Money | None") -> Terms:
    return Terms(
        config.dtype,
        config.quant,
        config.numerics_id,
        money.wallet.ledger_id if money else None,
        config.max_price,
        config.seconds_per_credit,
    )
