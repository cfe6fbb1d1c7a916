"""The client's seam, over hops in memory: sessions that nobody follows, and receipts and payment that follow one."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch

from ledgers import KEYS, RULES, sqlite
from memory_hops import HIDDEN, OPTIONS, MemoryHop, chain_of
from swarm.errors import PaymentRequired
from swarm.market.channel.observer import PaymentObserver
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.channel.wallet import Wallet
from swarm.route.route import Hop
from swarm.session.coverage import Waits
from swarm.session.hop import HopStream
from swarm.session.observers import HopObserver, Observers
from swarm.session.session import Session
from swarm.verify.receipts.checking import FaultKind
from swarm.verify.receipts.observer import ReceiptObserver
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.identity import address_of

PRICE = Price(prefill=3, decode=7)


def session_on(hops: Sequence[MemoryHop], observer: HopObserver | None = None, spares: object = None) -> Session:
    return Session([one.hop for one in hops], hops, OPTIONS, spares, observer)


async def work(session: Session, prompt: int = 8, tokens: int = 4) -> torch.Tensor:
    """What comes out of a prompt and some tokens, position by position the last row."""
    await session.open()
    rows = [await session.forward(0, torch.zeros(prompt, HIDDEN))]
    for position in range(prompt, prompt + tokens):
        rows.append(await session.forward(position, torch.zeros(1, HIDDEN)))
    await session.finish()
    return torch.cat(rows)


# --- the core alone --------------------------------------------------------------------------------------------------


def test_a_session_that_nobody_observes_computes_and_asks_for_no_receipt():
    hops = chain_of((0, 10), (10, 20), (20, 30))

    async def run() -> torch.Tensor:
        session = session_on(hops)
        try:
            return await work(session)
        finally:
            session.close()

    assert torch.equal(asyncio.run(run()), torch.full((5, HIDDEN), 3.0))
    assert not any(hop.vouchers for hop in hops)


class Diary(HopObserver):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def opening(self, hop: HopStream, request: pb.Open, live_from: int) -> None:
        self.lines.append(f"opening {hop.hop.start}")

    def opened(self, hop: HopStream, request: pb.Open, answer: pb.Opened, live_from: int) -> None:
        self.lines.append(f"opened {hop.hop.start}")

    def sending(self, hops: Sequence[HopStream], position: int, rows: object, prompt: bool) -> bool:
        self.lines.append(f"sending {position}")
        return False

    async def computing(self, hops: Sequence[HopStream]) -> None:
        self.lines.append("computing")

    def answered(self, hops: Sequence[HopStream], step: pb.Step, prompt: bool, digests: Sequence[bytes]) -> None:
        self.lines.append(f"answered {step.position}:{step.position + step.count} by {len(hops)}, {len(digests)} row")

    async def closing(self, hops: Sequence[HopStream], alive: Sequence[HopStream]) -> None:
        self.lines.append(f"closing {len(alive)} of {len(hops)}")

    def closed(self, hop: HopStream) -> None:
        self.lines.append(f"closed {hop.hop.start}")


def test_an_observer_is_told_of_everything_in_its_order():
    diary = Diary()

    async def run() -> None:
        session = session_on(chain_of((0, 15), (15, 30)), Observers(HopObserver(), diary))
        await work(session, tokens=1)
        session.close()

    asyncio.run(run())
    assert diary.lines == [
        "opening 0", "opening 15", "opened 0", "opened 15",
        "sending 0", "computing", "answered 0:8 by 2, 1 row",
        "sending 8", "computing", "answered 8:9 by 2, 1 row",
        "closing 2 of 2", "closed 0", "closed 15",
    ]  # fmt: skip


def test_an_observer_that_refuses_keeps_the_session_from_every_hop():
    class Refusing(HopObserver):
        async def opening(self, hop: HopStream, request: pb.Open, live_from: int) -> None:
            if hop.hop.start:
                raise PaymentRequired("too dear")

    hops = chain_of((0, 15), (15, 30))
    with pytest.raises(PaymentRequired, match="too dear"):
        asyncio.run(session_on(hops, Refusing()).open())
    assert not any(hop.opened for hop in hops)


# --- receipts --------------------------------------------------------------------------------------------------------


def test_receipts_come_with_answers_and_the_rest_at_the_end():
    kept: list[object] = []
    signed = ReceiptObserver(kept.append, seal_tokens=3)

    async def run() -> list[int]:
        session = session_on(chain_of((0, 10), (10, 30)), signed)
        await work(session, prompt=8, tokens=4)
        session.close()
        return [[one.count for one in signed.of(hop).receipts] for hop in session.chain.streams]

    assert asyncio.run(run()) == [[8, 3, 1]] * 2
    assert not signed.receipts.faults
    assert kept == sorted(signed.receipts.all(), key=kept.index) and len(kept) == 6


def test_who_did_not_sign_is_blamed():
    signed = ReceiptObserver()
    hops = chain_of((0, 30))

    async def run() -> None:
        session = session_on(hops, signed)
        await session.open()
        await session.forward(0, torch.zeros(1, HIDDEN))  # no receipt is due yet
        next(iter(hops[0].calls.values()))._on_seal = lambda seal: None
        session.chain.streams[0].request = _silence
        await session.finish()
        session.close()

    asyncio.run(run())
    assert [fault.kind for fault in signed.receipts.faults] == [FaultKind.MISSING]


async def _silence(message: object) -> None:
    return None


@pytest.mark.parametrize(("signs", "faults"), [(True, []), (False, [FaultKind.MISSING])])
def test_who_ends_the_session_rather_than_answer_has_signed_or_is_blamed(signs, faults):
    """As an honest server does whose room is needed just then; a cheat would always say so."""
    signed = ReceiptObserver()
    hops = chain_of((0, 15), (15, 30))

    async def run() -> None:
        session = session_on(hops, signed)
        await session.open()
        await session.forward(0, torch.zeros(1, HIDDEN))  # no receipt is due yet
        call = next(iter(hops[0].calls.values()))
        call._on_seal = lambda seal: call.evict(signs)
        await session.finish()
        session.close()

    asyncio.run(run())
    assert [fault.kind for fault in signed.receipts.faults] == faults


def test_what_a_hop_says_it_signed_at_the_end_counts_once():
    signed = ReceiptObserver()

    async def run() -> None:
        hops = chain_of((0, 30))
        session = session_on(hops, signed)
        await session.open()
        call = next(iter(hops[0].calls.values()))
        for _ in range(3):
            call._outbox.put_nowait(pb.ToClient(sealed=pb.Sealed(receipts=[b"rubbish"])))
        while not call._outbox.empty():
            await asyncio.sleep(0)
        assert len(signed._arrived) == 1
        session.close()

    asyncio.run(run())


# --- payment ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def market(tmp_path):
    """A ledger on which alice has credits, and a function that makes wallets of hers."""
    with sqlite(tmp_path, RULES) as world:
        world.issuer.mint(KEYS["alice"].address, 10**9)

        stores = []

        def wallet(budget: int | None = None) -> Wallet:
            stores.append(PaymentStore(tmp_path / "payments.db"))
            return Wallet(world.alice, KEYS["alice"], stores[-1], tmp_path / "locks", budget)

        def bills() -> list[tuple[bytes, int]]:
            assert all(store.flush() for store in stores)
            with closing(PaymentStore(tmp_path / "payments.db")) as store:
                return sorted((bill.payee, bill.amount) for bill in store.bills())

        yield SimpleNamespace(asks=Quote(world.issuer.id, "fixed", PRICE, PRICE), wallet=wallet, bills=bills)


def amounts(hop: MemoryHop) -> list[int]:
    return [SignedVoucher.decode(data).voucher.amount for data in hop.vouchers]


def test_every_hop_is_paid_for_what_came_back_in_steps_and_to_the_last_token_at_the_end(market):
    hops, payments = chain_of((0, 10), (10, 30), asks=market.asks), []

    async def run() -> None:
        signed = ReceiptObserver()
        payment = PaymentObserver(market.wallet(), signed, prompt_tokens=8)
        session = session_on(hops, Observers(signed, payment))
        await work(session, prompt=8, tokens=60)
        session.close()
        payments.extend(payment.payments())

    asyncio.run(run())
    for hop, payment in zip(hops, payments, strict=True):
        due = (hop.stop - hop.start) * (8 * PRICE.prefill + 60 * PRICE.decode)
        assert (payment.peer_id, payment.amount, amounts(hop)[-1]) == (hop.peer_id, due, due)
        assert len(hop.vouchers) > 1 and amounts(hop) == sorted(amounts(hop))


def test_what_may_cost_more_than_the_budget_opens_nothing_and_reserves_nothing(market):
    hops = chain_of((0, 10), (10, 30), asks=market.asks)
    wallet = market.wallet(budget=10 * 100 * PRICE.decode)  # enough for the first hop alone

    async def run() -> None:
        signed = ReceiptObserver()
        await session_on(hops, Observers(signed, PaymentObserver(wallet, signed))).open()

    with pytest.raises(PaymentRequired, match="budget"):
        asyncio.run(run())
    assert not any(hop.opened for hop in hops)
    assert wallet._expected == 0


def test_a_replacement_is_paid_for_what_is_replayed_to_it(market):
    first, middle, last = chain_of((0, 10), (10, 20), (20, 30), asks=market.asks)
    spare = MemoryHop(0, 10, first.others, market.asks)
    first.dies_at = 10

    class Spares:
        waits = Waits()

        async def replacement(self, lost: Sequence[Hop], *others: object) -> list[Hop]:
            return [spare.hop]

        def connection_to(self, peer: object) -> MemoryHop:
            return spare

        def report_failure(self, peer_id: str, why: str) -> None:
            assert peer_id == first.peer_id

    async def run() -> dict[str, int]:
        signed = ReceiptObserver()
        payment = PaymentObserver(market.wallet(), signed, prompt_tokens=8)
        session = session_on([first, middle, last], Observers(signed, payment), Spares())
        await work(session, prompt=8, tokens=6)
        session.close()
        assert not signed.receipts.faults
        return {one.peer_id: one.amount for one in payment.payments()}

    paid = asyncio.run(run())
    whole = 10 * (8 * PRICE.prefill + 6 * PRICE.decode)
    assert paid[middle.peer_id] == paid[last.peer_id] == whole
    assert paid[first.peer_id] == 10 * (8 * PRICE.prefill + 2 * PRICE.decode)
    # The position that was under way counts as replayed, and is answered all the same.
    assert paid[spare.peer_id] == 10 * (11 * PRICE.prefill + 4 * PRICE.decode)
    assert market.bills() == sorted((address_of(peer_id), amount) for peer_id, amount in paid.items())
