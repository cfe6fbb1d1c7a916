"""Points: what clients acknowledged is claimed by servers, once."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disks import locked
from helpers import wait_until
from ledgers import KEYS, RULES, World, sqlite
from swarm.clock import now_s
from swarm.errors import DiskTrouble, InvalidRequest, SwarmError
from swarm.market.billing import _check_clock, _claims
from swarm.market.channel.acknowledgements import MAX_BLOCK_TOKENS, Acknowledgement, SignedAcknowledgement
from swarm.market.channel.payee_channels import PayeeChannels
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.ledger.bookkeeping.orders import MAX_ORDER_BYTES
from swarm.market.pricing.contribution import MOST_PPM, Contribution
from swarm.market.rewards.claims import MAX_CLAIMS, claimed, pack_claims, unpack_claims
from swarm.market.rewards.closing import Closer, Plan
from swarm.market.rewards.epochs import Epochs
from swarm.wire.formats.receipts import NOTHING, Terms, Tokens
from swarm.wire.identity import keccak256
from swarm.wire.session_id import new_session_id

ALICE, BOB, CAROL = (KEYS[name].address for name in ("alice", "bob", "carol"))

POINTS = Plan(Contribution(), emission=10**6, reveal_s=60)

MOST = POINTS.emission * MOST_PPM // 10**6

DAY_S = 86_400

LATEST = b"\xff" * 16  # no session is younger


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    with sqlite(tmp_path, RULES) as world:
        yield world


def work(world: World, server: bytes = BOB, count: int = 100, session: bytes = b"", age_s: int = 0) -> Acknowledgement:
    begun = (int(world.issuer.now() * 1000) - age_s * 1000).to_bytes(6)
    return Acknowledgement(world.issuer.id, ALICE, server, session or begun + os.urandom(10), 0, 1, count, NOTHING)


def close(world: World, **claims: list[SignedAcknowledgement] | bytes) -> dict[tuple[bytes, bytes], int]:
    """The running epoch, in which servers claim these; what counts, by server and client."""
    epoch = Epochs(world.issuer).read()[-1].epoch
    payloads = {name: one if isinstance(one, bytes) else pack_claims(one) for name, one in claims.items()}
    for name, payload in payloads.items():
        getattr(world, name).commit(epoch, keccak256(payload))
    closer = Closer(world.issuer, POINTS)
    closer.step()
    for name, payload in payloads.items():
        getattr(world, name).reveal(epoch, payload)
    world.advance(61)
    closer.step()
    *ended, _ = Epochs(world.carol).read()
    return {(one.server, one.client): one.block_tokens for one in claimed(world.carol, ended, ended[-1], 60)}


def test_what_a_client_acknowledged_earns_its_server_points(world):
    mine = [work(world, count=count).sign(KEYS["alice"]) for count in (100, 50)]
    assert close(world, bob=mine) == {(BOB, ALICE): 150}
    assert world.issuer.account(BOB).available == MOST
    assert world.issuer.supply().minted == MOST


def test_the_same_work_claimed_twice_counts_once_in_one_epoch_and_over_several(world):
    one = work(world)
    more = replace(one, block_tokens=500).sign(KEYS["alice"])
    assert close(world, bob=[one.sign(KEYS["alice"]), one.sign(KEYS["alice"]), more]) == {(BOB, ALICE): 100}
    assert close(world, bob=[one.sign(KEYS["alice"]), more]) == {}
    assert close(world) == {}
    assert close(world, bob=[more]) == {}


def test_another_server_cannot_claim_it(world):
    one = work(world).sign(KEYS["alice"])
    assert close(world, carol=[one]) == {}
    assert close(world, bob=[one], carol=[one]) == {(BOB, ALICE): 100}  # nor keep its owner from claiming it


def test_without_the_clients_signature_it_counts_for_nothing(world):
    signed = work(world).sign(KEYS["alice"])
    changed = SignedAcknowledgement(replace(signed.acknowledgement, block_tokens=900), signed.signature)
    unsigned = SignedAcknowledgement(work(world), bytes(65))
    own = work(world)
    by_the_server = SignedAcknowledgement(own, KEYS["bob"].sign_hash(own.hash))
    assert close(world, bob=[changed, unsigned, by_the_server]) == {}


def test_an_acknowledgement_on_another_ledger_does_not_count(world):
    assert close(world, bob=[replace(work(world), ledger=bytes(32)).sign(KEYS["alice"])]) == {}


def test_sessions_from_long_before_the_epoch_or_from_the_future_do_not_count(world):
    claims = [work(world, age_s=age).sign(KEYS["alice"]) for age in (2 * DAY_S, -2 * DAY_S)]
    assert close(world, bob=claims) == {}


def test_a_bad_claim_does_not_spoil_the_others(world):
    good = work(world).sign(KEYS["alice"])
    huge = replace(work(world), block_tokens=MAX_BLOCK_TOKENS + 1).sign(KEYS["alice"])
    assert close(world, bob=[huge, good]) == {(BOB, ALICE): 100}


@given(st.binary(max_size=600))
def test_nonsense_is_no_claim(data):
    assert unpack_claims(data) == []
    assert unpack_claims(b"\2" + data) == []


def test_as_many_claims_as_may_be_fit_into_an_order_and_more_count_for_nothing(world):
    signed = work(world).sign(KEYS["alice"])
    assert len(pack_claims([signed] * MAX_CLAIMS)) + 1000 < MAX_ORDER_BYTES
    assert unpack_claims(pack_claims([signed] * (MAX_CLAIMS + 1))) == []


def test_an_acknowledgement_is_what_it_was_after_the_network(world):
    signed = work(world).sign(KEYS["alice"])
    assert SignedAcknowledgement.decode(signed.encode()) == signed
    for bad in (b"", signed.encode()[:-1], signed.encode() + b"x"):
        with pytest.raises(InvalidRequest, match="acknowledgement"):
            SignedAcknowledgement.decode(bad)


def test_an_emission_is_the_same_for_whoever_reads_the_book(world):
    assert close(world, carol=[work(world, CAROL).sign(KEYS["alice"])]) == {(CAROL, ALICE): 100}


# --- the server's side -----------------------------------------------------------------------------------------------

TERMS = Terms(new_session_id(), 3, BOB, 0, 10, NOTHING, "none/float32", "", 1, NOTHING)

COMPUTED = Tokens(prefill=5, decode=5)


@pytest.fixture
def store(tmp_path) -> Iterator[PaymentStore]:
    store = PaymentStore(tmp_path / "payments.db")
    yield store
    store.close()


def got(world: World, **changes: object) -> bytes:
    one = Acknowledgement(world.issuer.id, ALICE, BOB, TERMS.session, TERMS.start, TERMS.attempt, 100, NOTHING)
    return replace(one, **changes).sign(KEYS["alice"]).encode()


def test_a_server_keeps_what_it_is_told_and_claims_it_once(world, store):
    channels = PayeeChannels(world.bob, store)
    channels.acknowledge(TERMS, COMPUTED, got(world, block_tokens=10))
    channels.acknowledge(TERMS, COMPUTED, got(world))  # later, for more of the same session
    (signed,) = store.acknowledgements(world.issuer.id, b"", LATEST, 5)
    assert signed.encode() == got(world)
    store.forget_acknowledgements([signed])
    assert store.acknowledgements(world.issuer.id, b"", LATEST, 5) == []


def test_what_was_acknowledged_further_meanwhile_is_not_forgotten_with_the_claim(world, store):
    channels = PayeeChannels(world.bob, store)
    channels.acknowledge(TERMS, COMPUTED, got(world, block_tokens=10))
    claimed = store.acknowledgements(world.issuer.id, b"", LATEST, 5)
    channels.acknowledge(TERMS, COMPUTED, got(world))
    store.forget_acknowledgements(claimed)
    (signed,) = store.acknowledgements(world.issuer.id, b"", LATEST, 5)
    assert signed.encode() == got(world)


def test_nothing_is_claimed_while_some_of_it_is_not_on_disk(world, store, tmp_path):
    """What is left out of its epoch's claim counts in no other."""
    store.keep_acknowledgement(work(world, count=10).sign(KEYS["alice"]))
    assert store.flush()
    with locked(tmp_path / "payments.db"):
        store.keep_acknowledgement(work(world, count=20).sign(KEYS["alice"]))
        with pytest.raises(DiskTrouble):
            store.acknowledgements(world.issuer.id, b"", LATEST, 5)
    assert wait_until(store.flush, 20)
    found = store.acknowledgements(world.issuer.id, b"", LATEST, 5)
    assert [one.acknowledgement.block_tokens for one in found] == [20, 10]


@pytest.mark.parametrize("changes", [
    {"block_tokens": 101}, {"server": CAROL}, {"session": bytes(16)}, {"attempt": 4}, {"start": 1},
    {"ledger": bytes(32)},
])  # fmt: skip
def test_a_server_keeps_nothing_that_will_not_count(world, store, changes):
    with pytest.raises(InvalidRequest, match="acknowledgement"):
        PayeeChannels(world.bob, store).acknowledge(TERMS, COMPUTED, got(world, **changes))
    assert store.acknowledgements(world.issuer.id, b"", LATEST, 5) == []


def test_of_too_many_a_server_claims_those_that_are_worth_most_and_forgets_old_ones(world, store):
    for count, age_s in ((10, 0), (30, 0), (20, 0), (40, 2 * DAY_S)):
        store.keep_acknowledgement(work(world, count=count, age_s=age_s).sign(KEYS["alice"]))
    since = (int(world.issuer.now() - DAY_S) * 1000).to_bytes(6)
    taken = []
    for _ in range(2):
        taken.append(store.acknowledgements(world.issuer.id, since, LATEST, 2))
        store.forget_acknowledgements(taken[-1])
    assert [sorted(one.acknowledgement.block_tokens for one in some) for some in taken] == [[20, 30], [10]]


def test_what_is_too_new_for_an_epoch_is_claimed_in_the_next(world, store):
    ledger_s = world.issuer.now()  # a ledger whose clock is behind: sessions are from its future
    for count, age_s in ((10, 0), (20, -1_200)):
        store.keep_acknowledgement(work(world, count=count, age_s=age_s).sign(KEYS["alice"]))
    taken = []
    for later_s in (0, 1_000):
        payload = _claims(_LedgerAt(world.issuer.id, ledger_s + later_s), store, 600.0, 0)
        claimed = unpack_claims(payload or b"")
        store.forget_acknowledgements(claimed)
        taken.append([one.acknowledgement.block_tokens for one in claimed])
    assert taken == [[10], [20]]


@pytest.mark.parametrize("ahead_s", [86_400.0, -86_400.0])
def test_a_ledger_whose_clock_is_a_day_off_counts_no_epochs_and_that_is_said(world, ahead_s):
    _check_clock(_LedgerAt(world.issuer.id, now_s() + ahead_s / 150))
    with pytest.raises(SwarmError, match="the ledger's clock is"):
        _check_clock(_LedgerAt(world.issuer.id, now_s() + ahead_s))


@dataclass(frozen=True)
class _LedgerAt:
    id: bytes
    now_s: float

    def now(self) -> float:
        return self.now_s
