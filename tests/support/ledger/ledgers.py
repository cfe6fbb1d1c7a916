"""Every kind of ledger, as tests want it: one book, a few account holders, and a clock that can be moved.

A backend is a context manager, `backend(folder, rules) -> World`; who has another kind of ledger adds it to BACKENDS.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from harness.chains import advance, shared_chain
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.market.evm.deploying import deploy
from swarm.market.evm.evm_ledger import EvmLedger
from swarm.market.ledger.ledger import Channel, Ledger, Rules
from swarm.market.ledger.ordered import OrderedLedger
from swarm.market.ledger.remote import RemoteLedger
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.service.service import LedgerService, Limits, serve
from swarm.market.service.transport import LedgerAddress, fingerprint
from swarm.wire.formats.receipts import NOTHING, Receipt, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.tls import make_certificate

RULES = Rules(withdraw_delay_s=1_000, unbonding_s=5_000, reporter_ppm=500_000, burn_ppm=10_000)
KEYS = {name: Identity(name.encode().rjust(32, b"\1")) for name in ("issuer", "alice", "bob", "carol")}


@dataclass
class World:
    """One ledger, seen by its issuer, who is its arbiter, and by others. In the beginning nobody owns anything."""

    issuer: Ledger
    alice: Ledger
    bob: Ledger
    carol: Ledger
    advance: Callable[[int], None]  # the ledger's clock by so many seconds
    is_backed: bool = False  # credits are paid for in a currency, so anybody may mint

    @property
    def holders(self) -> list[Ledger]:
        return [self.issuer, self.alice, self.bob, self.carol]

    def voucher(
        self, channel: Channel | bytes, amount: int, by: str = "alice", ledger: bytes | None = None
    ) -> SignedVoucher:
        """A signed voucher over `amount` in all."""
        id = channel if isinstance(channel, bytes) else channel.id
        return Voucher(ledger or self.issuer.id, id, amount, NOTHING).sign(KEYS[by])


Backend = Callable[[Path, Rules], AbstractContextManager[World]]


class MovableClock:
    """Unix time that stands still until it is moved."""

    def __init__(self) -> None:
        self._now_s = time.time()

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: int) -> None:
        self._now_s += seconds


@contextmanager
def sqlite(folder: Path, rules: Rules) -> Iterator[World]:
    """Every holder opens the file for itself, as other processes would."""
    clock = MovableClock()
    views = [SqliteLedger(folder / "ledger.db", key, rules, clock=clock) for key in KEYS.values()]
    yield World(*views, clock.advance)
    for view in views:
        view.shut()


@contextmanager
def remote(folder: Path, rules: Rules) -> Iterator[World]:
    """Through the service, every holder by a connection of its own."""
    clock, certificate = MovableClock(), make_certificate()
    ledger = SqliteLedger(folder / "ledger.db", KEYS["issuer"], rules, clock=clock)
    server, port = serve(LedgerService(ledger, Limits(orders=10**6, reads=10**6)), "127.0.0.1", 0, certificate)
    address = LedgerAddress("127.0.0.1", port, fingerprint(certificate.certificate_der))
    views = [RemoteLedger(address, key) for key in KEYS.values()]
    yield World(*views, clock.advance)
    for view in views:
        view.shut()
    server.stop(grace=None).wait()
    ledger.shut()


@contextmanager
def evm(folder: Path, rules: Rules) -> Iterator[World]:
    """A contract of its own on a chain that all tests share."""
    web3 = shared_chain(*KEYS.values())
    contract = deploy(web3, KEYS["issuer"], rules, KEYS["issuer"].address)
    views = [EvmLedger(web3, contract, key) for key in KEYS.values()]
    yield World(*views, lambda seconds: advance(web3, seconds), is_backed=True)


BACKENDS: dict[str, Backend] = {"sqlite": sqlite, "remote": remote, "evm": evm}


def seen_by(ledger: OrderedLedger, identity: Identity) -> OrderedLedger:
    """The same ledger, through the same file or connection, in the name of another account holder."""
    view = copy(ledger)
    OrderedLedger.__init__(view, identity)
    return view


def revealed(ledger: Ledger, epoch: int) -> dict[bytes, bytes]:
    """Payloads by the address that revealed them."""
    entries = [entry for entry in ledger.history() if entry.kind == "reveal" and entry.details["epoch"] == epoch]
    return {entry.by: bytes.fromhex(entry.details["payload"]) for entry in entries}


def equivocation(by: str = "bob", index: int = 0) -> tuple[SignedReceipt, SignedReceipt]:
    """Two receipts for one work that say different things."""
    terms = Terms(bytes(16), 1, KEYS[by].address, 0, 1, NOTHING, "none/bfloat16", "cpu-1", 1, NOTHING)
    return tuple(
        Receipt(terms, index, 0, 1, 0, NOTHING, NOTHING, outputs, NOTHING, NOTHING, NOTHING, 1).sign(KEYS[by])
        for outputs in (bytes([1]) * 32, bytes([2]) * 32)
    )
