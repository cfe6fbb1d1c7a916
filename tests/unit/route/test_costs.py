"""What peers claim of their speed, and what a client makes of it: pure."""

import math
import random
import statistics
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest
from swarm.peers import record as records
from swarm.peers.estimates import FACTORS, HALF_LIFE_S, PRIOR_LIFE_S, Estimates, claimed_step_s
from swarm.route.costs import BATCHES, DEFAULT_BLOCK_S, Link, PeerCosts
from swarm.route.peer import MAX_LINKS, PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.identity import Identity
from swarm.wire.tls import MAX_CERTIFICATE_BYTES

NOW_S = 1e9


def peer(name: str, costs: PeerCosts | None = None, load: pb.Load | None = None) -> PeerInfo:
    return PeerInfo(
        name, "m", "r", 0, 10, 30, "float32", "none", "", pb.Endpoint(peer_id=name), False, 0, 0, load or pb.Load(),
        costs or PeerCosts(),
    )  # fmt: skip


# --- figures between and beyond the measured ones --------------------------------------------------------------------

times = st.lists(st.floats(1e-6, 10), max_size=len(BATCHES))


def test_a_batch_between_two_measured_ones_costs_in_proportion():
    costs = PeerCosts(decode_s=(1.0, 1.5, 2.5, 3.0, 4.0))
    assert [costs.decode_block_s(batch) for batch in (*BATCHES, 3, 12, 32)] == [1.0, 1.5, 2.5, 3.0, 4.0, 2.0, 3.5, 6.0]


def test_a_peer_that_announces_nothing_counts_as_an_ordinary_one():
    assert PeerCosts().decode_block_s(4) == DEFAULT_BLOCK_S
    assert PeerCosts().prefill_block_s() == DEFAULT_BLOCK_S / BATCHES[-1]


@given(times, st.floats(1, 200))
def test_no_claims_make_a_batch_take_no_time(decode_s, batch):
    """Times that fall with the batch would otherwise fall below nothing beyond the last one."""
    assert PeerCosts(decode_s=tuple(decode_s)).decode_block_s(batch) > 0


# --- costs in records ------------------------------------------------------------------------------------------------


def signed(costs: pb.Costs, certificate: bytes = b"certificate") -> bytes:
    identity, now_ms = Identity(), int(time.time() * 1000)
    record = pb.PeerRecord(
        version=records.VERSION,
        peer_id=identity.peer_id,
        model="demo",
        start=0,
        stop=10,
        num_blocks=30,
        endpoint=pb.Endpoint(peer_id=identity.peer_id, host="127.0.0.1", port=1234, certificate=certificate),
        issued_ms=now_ms,
        expires_ms=now_ms + 30_000,
        costs=costs,
    )
    return records.sign(record, identity)


def links(count: int) -> dict[str, Link]:
    return {f"16Uiu2HAm{index:044}": Link(0.001 * (index + 1), 1e8) for index in range(count)}


def test_a_record_says_what_its_peer_measured():
    costs = PeerCosts((0.5, 0.75), 0.125, 0.25, 1234, {"neighbour": Link(0.5, 1e6)})
    assert records.verify(signed(records.costs_message(costs))).costs == costs


def test_a_record_with_all_its_links_is_not_too_large():
    costs = PeerCosts((0.1,) * len(BATCHES), 0.1, 0.1, 2**41, links(40))
    info = records.verify(signed(records.costs_message(costs), bytes(MAX_CERTIFICATE_BYTES)))
    assert list(info.costs.links) == list(links(MAX_LINKS))


def hostile(**changes: object) -> pb.Costs:
    costs = records.costs_message(PeerCosts((0.1, 0.1), 0.1, 0.1, 1, links(1)))
    for name, value in changes.items():
        if name == "decode_us":
            costs.decode_us[:] = value
        elif name in ("round_trip_us", "bytes_per_s"):
            setattr(costs.links[0], name, value)
        else:
            setattr(costs, name, value)
    return costs


def with_links(count: int) -> pb.Costs:
    return pb.Costs(links=[pb.NeighbourLink(peer_id=str(i), bytes_per_s=1) for i in range(count)])


HOSTILE = {
    "not a number": hostile(prefill_us=math.nan),
    "no time": hostile(decode_us=[1.0, 0.0]),
    "endless": hostile(decode_us=[math.inf]),
    "negative": hostile(decode_us=[-1.0]),
    "negative wait": hostile(queue_us=-1.0),
    "negative round trip": hostile(round_trip_us=-1.0),
    "infinite bandwidth": hostile(bytes_per_s=math.inf),
    "no bandwidth": hostile(bytes_per_s=0.0),
    "times of more batches": hostile(decode_us=[1.0] * (len(BATCHES) + 1)),
    "too many links": with_links(MAX_LINKS + 1),
    "oversized": pb.Costs(links=[pb.NeighbourLink(peer_id="x" * 5000, bytes_per_s=1)]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_record_with_impossible_costs_is_refused(kind):
    with pytest.raises(InvalidRequest):
        records.verify(signed(HOSTILE[kind]))


# --- what a client has seen itself -----------------------------------------------------------------------------------

STAGES = [["a0", "a1", "a2"], ["b0", "b1", "b2"], ["c0", "c1", "c2"]]
LIAR = "a0"


class World:
    """Peers that take the time they claim, more or less, but for a liar, and a client that generates on them."""

    def __init__(self, seed: int):
        self._rng = random.Random(seed)
        self.peers = [peer_id for stage in STAGES for peer_id in stage]
        self.takes_s = {peer_id: self._rng.uniform(0.005, 0.02) for peer_id in self.peers}
        self.claims_s = dict(self.takes_s)
        self.estimates, self.now_s = Estimates(), NOW_S

    def generate(self, generations: int, tokens: int = 20) -> None:
        """Each on a chain chosen at random. Every step jitters, and one in fifty stalls."""
        for _ in range(generations):
            chain = [self._rng.choice(stage) for stage in STAGES]
            for _ in range(tokens):
                measured_s = sum(self.takes_s[peer_id] * self._rng.lognormvariate(0, 0.2) for peer_id in chain)
                measured_s += 0.002 + (0.5 if self._rng.random() < 0.02 else 0)
                self.now_s += 0.05
                self.estimates.observe([(id_, self.claims_s[id_]) for id_ in chain], 0.002, measured_s, self.now_s)

    def factors(self) -> dict[str, float]:
        return {peer_id: self.estimates.factor(peer_id, self.now_s) for peer_id in self.peers}


@pytest.mark.parametrize("seed", range(10))
def test_a_peer_that_claims_to_be_ten_times_faster_is_found_out(seed):
    world = World(seed)
    world.claims_s[LIAR] /= 10
    world.generate(40)
    factors = world.factors()
    assert 5 < factors.pop(LIAR) < 20
    assert all(0.6 < factor < 1.7 for factor in factors.values())
    assert 0.9 < statistics.median(factors.values()) < 1.15


@pytest.mark.parametrize("seed", range(10))
def test_peers_that_tell_the_truth_are_believed(seed):
    world = World(seed)
    world.generate(40)
    assert all(0.6 < factor < 1.7 for factor in world.factors().values())


def test_a_slow_phase_is_forgotten_with_time():
    world = World(0)
    world.takes_s[LIAR] *= 10
    world.generate(30)
    slow, later_s = world.factors()[LIAR], world.now_s + HALF_LIFE_S
    assert slow > 5
    assert 1.2 < world.estimates.factor(LIAR, later_s) < slow / 2
    assert world.estimates.factor(LIAR, later_s + 3 * HALF_LIFE_S) == 1


def test_one_step_that_stalled_condemns_nobody():
    estimates = Estimates()
    estimates.observe([("a", 0.01), ("b", 0.01)], 0.002, 60.0, NOW_S)
    assert estimates.factor("a", NOW_S) == estimates.factor("b", NOW_S) == 1


seconds = st.floats(0, 1e6)


@given(st.lists(st.tuples(st.sampled_from("abc"), seconds), min_size=1, max_size=4), seconds, seconds)
def test_no_claim_and_no_measurement_breaks_the_bounds(hops, links_s, measured_s):
    estimates = Estimates()
    for step in range(50):
        estimates.observe(hops, links_s, measured_s, NOW_S + step)
    least, most = FACTORS
    assert all(least * 0.999 <= estimates.factor(id_, NOW_S + 50) <= most * 1.001 for id_, _ in hops)


def test_a_candidate_joins_claims_load_and_what_was_seen():
    costs = PeerCosts(decode_s=(1.0, 1.5, 2.5, 3.0, 4.0), prefill_s=0.25, queue_s=0.5)
    busy = pb.Load(decoding=3, queued_tokens=43)
    world = World(0)
    info = replace(peer("x", costs), asks=Quote(bytes(32), price=Price(3, 7)))
    candidate = world.estimates.candidate(info, NOW_S, {"x": Link(0.2, 1e6)}, busy)
    assert (candidate.decode_s, candidate.prefill_s) == (2.5, 0.25)  # the fourth of a batch
    assert candidate.price == Price(3, 7)
    assert candidate.queue_s == 40 * 0.25 * 10 / 2  # on average half of the prompt that is being computed
    assert candidate.client == Link(0.2, 1e6)
    idle = world.estimates.candidate(replace(peer("x", costs), asks=Quote(bytes(32), price=Price(3, 7))), NOW_S, {})
    assert (idle.decode_s, idle.queue_s) == (1.0, 0.5)
    assert claimed_step_s(peer("x", costs), 10) == 10 * idle.decode_s + idle.queue_s


def test_what_was_seen_corrects_all_of_a_peers_times():
    costs = PeerCosts(decode_s=(0.001,), prefill_s=0.0005, queue_s=0.01)
    estimates = Estimates()
    for _ in range(100):
        estimates.observe([("x", 0.02)], 0.0, 0.06, NOW_S)
    candidate = estimates.candidate(replace(peer("x", costs), asks=Quote(bytes(32), price=Price(3, 7))), NOW_S, {})
    figures = (candidate.decode_s / 0.001, candidate.prefill_s / 0.0005, candidate.queue_s / 0.01)
    assert figures == pytest.approx((3, 3, 3), rel=0.01)


def test_peers_cannot_claim_to_be_nearer_to_each_other_than_the_clients_round_trips_allow():
    costs = PeerCosts(links={"far": Link(0.001), "near": Link(0.001), "unknown": Link(0.001)})
    own = {"x": Link(0.01), "near": Link(0.01), "far": Link(0.1)}
    found = Estimates().candidate(peer("x", costs), NOW_S, own).links
    round_trips_s = {name: link.round_trip_s for name, link in found.items()}
    assert round_trips_s == pytest.approx({"far": 0.09, "near": 0.001, "unknown": 0.001})


def test_old_peers_are_trusted_to_stay_and_those_that_failed_are_not():
    estimates = Estimates()
    new = peer("new", PeerCosts(started_ms=int(NOW_S * 1000)))
    old = peer("old", PeerCosts(started_ms=int((NOW_S - 9 * PRIOR_LIFE_S) * 1000)))
    assert estimates.hazard_per_s(new, NOW_S) == pytest.approx(1 / PRIOR_LIFE_S)
    assert estimates.hazard_per_s(old, NOW_S) == pytest.approx(0.1 / PRIOR_LIFE_S)
    estimates.note_failure("old")
    assert estimates.hazard_per_s(old, NOW_S) > estimates.hazard_per_s(new, NOW_S)  # whatever age it claims
    silent, from_the_future = peer("silent"), peer("odd", PeerCosts(started_ms=2**63))
    assert estimates.hazard_per_s(silent, NOW_S) == estimates.hazard_per_s(from_the_future, NOW_S) == 1 / PRIOR_LIFE_S
