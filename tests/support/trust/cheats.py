"""A swarm with a cheat in it, and what a client would hold against whom.

Real servers, one of which runs cheating_server.py.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

import swarm
from helpers import listed
from swarm.client.background import wait
from swarm.home import evidence_folder, thresholds_folder
from swarm.results import Audit
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.hop import HopStream
from swarm.session.limits import ClientLimits
from swarm.session.session import Session
from swarm.verify.audit.examiner import Examiner
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judges import LocalJudge, PeerJudges
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.receipts.checking import Fault
from swarm.verify.receipts.observer import SEAL_TOKENS, ReceiptObserver, SignedSession
from swarm.verify.reputation.store import ReputationStore
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import Identity
from swarm.wire.transport import Peer

CHEATING = str(Path(__file__).with_name("cheating_server.py"))

PROMPT, TOKENS = 40, 40  # positions in one step and one by one: three chunks


class Cheater:
    """A server that cheats in the way that its file names."""

    def __init__(self, server: object, file: Path):
        self.peer_id, self._file = server.peer_id, file

    @contextmanager
    def does(self, name: str) -> Iterator[None]:
        self._file.write_text(name)
        try:
            yield
        finally:
            self._file.unlink()


class WatchedSession(Session):
    """signed: by its hops."""

    def __init__(self, hops: Sequence[Hop], peers: Sequence[Peer], options: SessionOptions, signed: ReceiptObserver):
        super().__init__(hops, peers, options, observer=signed)
        self.signed, self.receipts = SignedSession(self, signed), signed.receipts

    def receipts_of(self, hop: HopStream) -> list[SignedReceipt]:
        return self.signed.signed.of(hop).receipts


class Swarm:
    """Honest servers `first`, `middle`, `twin`, `last`, and `cheater`, which may take the middle's or last's place."""

    def __init__(self, local: swarm.LocalSwarm, cheater: Cheater, client: swarm.Client, home: Path):
        ids = [server.peer_id for server in local.servers]
        self.local, self.client, self.cheater, self.home = local, client, cheater, home
        self.table = client.parts.router.table
        self.peers = {peer.peer_id: peer for peer in listed(client)}
        self.first, self.middle, self.twin, self.last = (self.peers[peer_id] for peer_id in ids[:4])
        self.wrong = self.peers[cheater.peer_id]
        self.judge = LocalJudge(Expert(client.parts.checkpoint, thresholds_folder()))
        self.penalties: Penalties | None = None
        self.forget()

    def forget(self) -> None:
        """What was learnt of peers."""

        async def begin() -> Penalties:
            if self.penalties:
                await self.penalties.close(0)
            return Penalties(
                self.table, self.reputation, self.client.parts.checkpoint, Identity(), evidence_folder(), None
            )

        self.reputation = ReputationStore()
        self.penalties = wait(begin())

    @property
    def middle_chain(self) -> list[Hop]:
        return [Hop(self.first, 0, 1), Hop(self.wrong, 1, 3), Hop(self.last, 3, 5)]

    @property
    def last_chain(self) -> list[Hop]:
        return [Hop(self.first, 0, 1), Hop(self.wrong, 1, 3)]

    def options(self) -> SessionOptions:
        checkpoint = self.client.parts.checkpoint
        return SessionOptions(
            model=checkpoint.name, revision=checkpoint.revision, hidden_size=checkpoint.config.hidden_size,
            wire_dtype=torch.bfloat16, max_tokens=PROMPT + TOKENS, open_timeout_s=10, step_timeout_s=10,
        )  # fmt: skip

    def session(self, hops: Sequence[Hop], seal_tokens: int = SEAL_TOKENS) -> "WatchedSession":
        connections = [self.table.connection_to(hop.peer) for hop in hops]
        return WatchedSession(hops, connections, self.options(), ReceiptObserver(seal_tokens=seal_tokens))

    async def work(self, session: WatchedSession, seed: int = 0) -> torch.Tensor:
        """A prompt and some tokens; what came out."""
        torch.manual_seed(seed)
        hidden = torch.randn(PROMPT + TOKENS, self.client.config.hidden_size)
        await session.open()
        rows = [await session.forward(0, hidden[:PROMPT])]
        for position in range(PROMPT, PROMPT + TOKENS):
            rows.append(await session.forward(position, hidden[position : position + 1]))
        await session.finish()
        return torch.cat(rows)

    def examiner(self, prefers_local: bool = True) -> Examiner:
        peers = PeerJudges(self.table, self.client.parts.checkpoint, ClientLimits())
        return Examiner(peers, self.judge, self.penalties, prefers_local)

    async def audit(self, session: WatchedSession, index: int, examiner: Examiner | None = None) -> Audit:
        """All that one hop did."""
        stream = session.chain.streams[index]
        examiner = examiner or self.examiner()
        return await examiner.examine(session.signed, stream, session.receipts_of(stream), True, True)


def all_faults(swarm_: Swarm, cheat: str, hops: Sequence[Hop]) -> tuple[WatchedSession, list[Fault]]:
    """Of a whole session during which the cheater did `cheat`."""
    session = swarm_.session(hops)
    with swarm_.cheater.does(cheat):
        wait(swarm_.work(session))
    session.close()
    return session, session.receipts.faults
