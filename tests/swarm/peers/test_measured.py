"""What servers measure: of their batches, and of their neighbours."""

import asyncio
import math
import random
import time

import pytest
import torch

import swarm
from clock import Clock
from helpers import listed, wait_until
from swarm.model.blocks import BlockRange
from swarm.model.config.families import ModelConfig
from swarm.model.kv_cache import PAGE_TOKENS, PagePool
from swarm.route.costs import BATCHES, Link, PeerCosts
from swarm.route.peer import MAX_LINKS, PeerInfo
from swarm.server.costs.measuring import LEAST_PREFILL_TOKENS, measure, plausible
from swarm.server.costs.meter import QUEUE_HALF_LIFE_S, Meter
from swarm.server.neighbours import choose, may_meet
from swarm.server.scheduler.batching import BatchLimits
from swarm.server.scheduler.scheduler import Scheduler
from swarm.wire import messages_pb2 as pb
from waiting_sessions import waiting

BLOCKS = 10
START = PeerCosts(decode_s=(1.0, 1.5, 2.5, 3.0, 4.0), prefill_s=0.25, row_s=0.125)


# --- the running means -----------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock) -> Meter:
    return Meter(START, clock)


def decode(meter: Meter, sessions: int, block_s: float, times: int = 200, queue_s: float = 0.0) -> None:
    for _ in range(times):
        meter.observe(sessions, 0, BLOCKS, block_s * BLOCKS, queue_s)


@pytest.mark.parametrize("sessions", [1, 3, 4, 16])
def test_a_batch_size_comes_to_cost_what_its_batches_took(meter, sessions):
    decode(meter, sessions, 5.0)
    assert meter.costs().decode_block_s(sessions) == pytest.approx(5.0, rel=0.01)


def test_batches_of_different_sizes_are_told_apart(meter):
    for _ in range(300):
        decode(meter, 1, 2.0, times=1)
        decode(meter, 8, 7.0, times=1)
    assert meter.costs().decode_block_s(1) == pytest.approx(2.0, rel=0.05)
    assert meter.costs().decode_block_s(8) == pytest.approx(7.0, rel=0.05)


def test_what_slows_one_size_down_is_expected_of_the_others_too(meter):
    decode(meter, 1, 3.0)
    assert meter.costs().decode_block_s(16) > START.decode_block_s(16) * 1.1


def test_one_batch_that_stalled_hardly_counts(meter):
    decode(meter, 1, 1e6, times=1)
    assert meter.costs().decode_block_s(1) == pytest.approx(1.0, rel=0.1)


def test_larger_mixed_and_uneven_batches_teach_nothing(meter):
    meter.observe(BATCHES[-1] + 1, 0, BLOCKS, 1e-3, 0.0)
    meter.observe(4, 64, BLOCKS, 1e-3, 0.0)
    meter.observe(4, 0, 0, 1e-3, 0.0)
    meter.observe(0, LEAST_PREFILL_TOKENS - 1, BLOCKS, 1e-3, 0.0)
    assert meter.costs() == START


def test_prompts_come_to_cost_what_they_took(meter):
    for _ in range(200):
        meter.observe(0, 256, BLOCKS, 0.5 * 256 * BLOCKS, 0.0)
    assert meter.costs().prefill_s == pytest.approx(0.5, rel=0.01)
    assert meter.costs().decode_s == START.decode_s


def test_waits_are_averaged_and_forgotten_when_nobody_waits_any_more(meter, clock):
    decode(meter, 1, 1.0, queue_s=0.2)
    assert meter.costs().queue_s == pytest.approx(0.2, rel=0.01)
    clock.now_s += 5 * QUEUE_HALF_LIFE_S
    assert meter.costs().queue_s < 0.01


def test_no_larger_batch_is_said_to_take_less_than_a_smaller_one(meter):
    decode(meter, 1, 100.0)
    times = meter.costs().decode_s
    assert list(times) == sorted(times)
    assert all(0 < seconds < math.inf for seconds in times)


def test_batches_of_no_duration_do_no_harm(meter):
    decode(meter, 1, 0.0)
    meter.observe(0, 256, BLOCKS, 0.0, 0.0)
    costs = meter.costs()
    assert all(seconds > 0 for seconds in (*costs.decode_s, costs.prefill_s))


class Instant:
    """A runner whose blocks take a known time."""

    def run(self, slices):
        return [torch.zeros(item.count, 8) for item in slices], 0.5


def test_the_scheduler_reports_its_batches_and_how_long_they_waited(meter):
    async def scenario(sessions):
        done = asyncio.Event()

        def report(*batch: object) -> None:
            meter.observe_batch(*batch)
            done.set()

        scheduler = Scheduler(Instant(), lambda session: None, BatchLimits(), report)
        for session in sessions:
            scheduler.add(session)
        scheduler.wake()
        working = asyncio.create_task(scheduler.run())
        await done.wait()
        working.cancel()
        scheduler.close()

    asyncio.run(scenario(waiting(1, 1)))  # two sessions on blocks 0:2
    costs = meter.costs()
    assert 0.8 < costs.decode_s[1] / START.decode_s[1] < 1  # towards 0.25
    assert costs.queue_s > 0


# --- at the start ----------------------------------------------------------------------------------------------------


def test_a_size_that_something_held_up_is_corrected_by_the_others():
    assert plausible([1.0, 9.0, 1.5, 2.0, 90.0]) == (1.0, 1.5, 1.5, 2.0, 4.0)
    assert plausible([9.0, 1.0]) == (1.0, 1.0)
    assert plausible([1.0, 3.0, 90.0], [8, 16, 64]) == (1.0, 2.0, 8.0)


def test_real_blocks_are_measured_on_a_pool_that_is_left_unused(demo_checkpoint):
    blocks = BlockRange.load(demo_checkpoint, 0, 2, torch.float32)
    pool = PagePool(demo_checkpoint.config, 2, torch.float32, 2**22, torch.device("cpu"))
    costs = measure(blocks, pool, budget_s=0.2)
    assert len(costs.decode_s) >= 2
    assert all(seconds > 0 for seconds in costs.decode_s)
    assert list(costs.decode_s) == sorted(costs.decode_s)
    assert costs.row_s > 0
    pool.check_integrity()


def page_bytes(config: ModelConfig) -> int:
    return 2 * 2 * PAGE_TOKENS * config.num_kv_heads * config.head_dim * 4


def test_a_pool_of_one_page_is_enough_to_measure_and_a_spent_budget_still_gives_figures(demo_checkpoint):
    blocks = BlockRange.load(demo_checkpoint, 0, 2, torch.float32)
    pool = PagePool(demo_checkpoint.config, 2, torch.float32, page_bytes(demo_checkpoint.config), torch.device("cpu"))
    assert pool.num_pages == 1
    assert measure(blocks, pool, budget_s=10.0).prefill_s > 0
    hasty = measure(blocks, pool, budget_s=0.0)
    assert len(hasty.decode_s) == 2
    assert hasty.prefill_block_s() > 0


# --- neighbours ------------------------------------------------------------------------------------------------------


def peer(name: str, start: int, stop: int, revision: str = "r") -> PeerInfo:
    return PeerInfo(name, "m", revision, start, stop, 30, "float32", "none", "", pb.Endpoint(), False, 0, 0, pb.Load())


@pytest.mark.parametrize(
    ("start", "stop", "meets"),
    [
        (20, 30, True),  # goes on where this one ends
        (15, 25, True),
        (0, 10, True),  # ends where this one begins
        (5, 15, True),
        (10, 20, False),  # does the same
        (12, 18, True),  # both: within it
        (21, 30, False),  # leaves a gap
        (0, 9, False),
    ],
)
def test_neighbours_end_where_the_other_goes_on(start, stop, meets):
    record = peer("me", 10, 20)
    assert may_meet(record, peer("x", start, stop)) == meets
    assert not may_meet(record, peer("x", start, stop, revision="another"))


def test_the_ends_of_a_chain_meet():
    tail = peer("me", 20, 30)
    assert may_meet(tail, peer("head", 0, 10))
    head = peer("me", 0, 10)
    assert may_meet(head, peer("tail", 20, 30))


def test_the_nearest_are_asked_and_always_some_others():
    peers = [peer(str(index), 20, 30) for index in range(100)]
    links = {str(index): Link(0.001 * (index + 1)) for index in range(50)}
    asked = [{info.peer_id for info in choose(peers, links, random.Random(seed))} for seed in range(60)]
    nearest = {str(index) for index in range(12)}
    assert all(nearest < one and len(one) == MAX_LINKS for one in asked)
    assert len(set.union(*asked)) > 90


def test_servers_announce_what_they_measured_and_links_to_their_neighbours():
    with (
        swarm.LocalSwarm("demo", ["0:2", "2:4", "28:30"], quant="int4", threads=1, record_life=3) as local,
        swarm.Client("demo", local.peers) as client,
    ):
        first, second, last = (server.peer_id for server in local.servers)
        costs: dict[str, PeerCosts] = {}

        def announced() -> bool:
            costs.update({info.peer_id: info.costs for info in listed(client)})
            links = {peer_id: set(one.links) for peer_id, one in costs.items()}
            return (
                len(links) == 3
                and all(links.values())
                and links[first] == {second, last}  # of which the last is where a chain ends, to begin again
                and links[second] == {first}
            )

        assert wait_until(announced, 15), costs
    for one in costs.values():
        assert len(one.decode_s) == len(BATCHES)
        assert one.prefill_block_s() > 0
        assert 0 < time.time() - one.started_ms / 1000 < 60
        assert all(0 < link.round_trip_s < 1 and link.bytes_per_s > 1e5 for link in one.links.values())
