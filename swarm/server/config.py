"""What a server is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm.errors import InvalidRequest
from swarm.model.blocks import BlockRange
from swarm.model.kv_cache import PagePool
from swarm.peers.directory import RECORD_LIFE_S
from swarm.program import option
from swarm.server.placing import Assignment
from swarm.server.scheduler.runner import Runner
from swarm.server.session.session import Session
from swarm.wire.dtypes import SERVED_DTYPES, usual_dtype
from swarm.wire.formats.facts import Attester
from swarm.wire.secret import Secret
from swarm_kernels import QUANTS

if TYPE_CHECKING:
    from swarm.market.billing import BillingOptions

# What each thing at a server's end may take, in seconds: what it waits for may be gone, and the server leaves all the
# same.
GOODBYE_S = 2.0  # to the directory
CLOSING_S = 1.0  # of connections and tasks
WRITING_S = 1.8  # of what its disk has not taken yet
SETTLING_S = 2.0  # on a ledger: what is not settled now is settled next time
DIRECTORY_S = 3.0  # until its node is gone, and the node's daemon


@dataclass(frozen=True)
class Parts:
    """What computes and what signs; tests of verification give a server other ones."""

    runner: Callable[[BlockRange, PagePool], Runner] = Runner
    session: Callable[..., Session] = Session
    writer: Callable[..., Any] | None = None  # of receipts, see swarm.verify.receipts.work; None: the ordinary one


@dataclass(frozen=True)
class ServerConfig:
    """See `python -m swarm.server --help` for the meaning of each. Raises InvalidRequest for formats that are none."""

    model: str = "demo"
    revision: str | None = None
    blocks: tuple[int, int] | None = None  # None: those that help the swarm most, now and later
    dtype: str | None = None  # None: float32, or bfloat16 for quantised blocks
    quant: str = "none"
    device: str | None = None  # None: a GPU if there is one
    threads: int | None = None  # None: found by trying
    peers: tuple[str, ...] = ()
    secret: Secret | None = None  # of a private swarm; None: open to all
    host: str = "127.0.0.1"
    announce: str | None = None  # the host that others are told; None: `host`, or this machine's outward address
    announce_port: int | None = None  # the port that others are told; None: the one listened on
    port: int | None = None  # of gRPC; None: where it was the last time, or any free one; 0: any
    dht_port: int | None = None  # of the directory's node; likewise
    identity: Path | None = None
    attester: Attester | None = None  # gives evidence of what runs here
    billing: "BillingOptions | None" = None  # None: it works for nothing
    receipts: bool = True  # signs for what it computes; else clients that want receipts go elsewhere
    assigned: Assignment | None = None  # where `blocks` is None: what this server has moved to
    memory_bytes: int | None = None  # for blocks and cache; None: most of what is free
    kv_memory_bytes: int = 2**30
    journal_bytes: int = 2**28
    max_sessions: int = 128
    max_context: int | None = None  # None: what the model was made for
    idle_timeout_s: float = 120.0
    drain_timeout_s: float = 30.0
    record_life_s: float = RECORD_LIFE_S
    parts: Parts = field(default_factory=Parts)  # what it computes and signs with

    def __post_init__(self) -> None:
        for value, known in ((self.activations, SERVED_DTYPES), (self.quant, QUANTS)):
            if value not in known:
                raise InvalidRequest(f"cannot serve in {value!r}; choose one of {', '.join(known)}")
        if self.port and self.port == self.dht_port:
            raise InvalidRequest(f"{option('port')} and {option('dht_port')} are both {self.port}; they must differ")
        if self.billing and not self.receipts:
            raise InvalidRequest(
                f"a server that is paid signs for its work: leave out {option('receipts=False', '--no-receipts')}, or "
                f"{option('ledger')}"
            )

    @property
    def activations(self) -> str:
        """The dtype that it computes in."""
        return self.dtype or usual_dtype(self.quant)
