"""Generations outlive the servers they run on: tokens stay what they would have been, whoever dies, hangs or leaves.

benchmarks/survival.py does the same at random moments, a hundred times over, and looks at the pauses.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import swarm
from helpers import in_background, listed, pages_in_use, statuses, wait_until
from swarm.client.local_swarm import LocalServer
from swarm.client.stream import Stream

RANGES = ("0:10", "10:20", "20:30")
PROMPT = "The capital of France is"
LONG = [1000 + (37 * index) % 20_000 for index in range(400)]  # takes a while to be computed again
TOKENS = 64
ENDLESS = 4000  # more than anybody waits for


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    with swarm.LocalSwarm(
        "demo", [*RANGES, *RANGES], quant="int4", dtype="float32", threads=1, kv_memory="256M"
    ) as local:
        yield local


@pytest.fixture(scope="module")
def client(local) -> Iterator[swarm.Client]:
    with swarm.Client("demo", local.peers) as client:
        yield client


@pytest.fixture(scope="module")
def expected(client) -> Callable[[swarm.Generation], list[int]]:
    """The tokens of an undisturbed run with a generation's prompt."""
    prompts = [client.encode(PROMPT), LONG]
    outs = [client.generate(prompt, max_new_tokens=TOKENS, ignore_eos=True) for prompt in prompts]
    return lambda generation: outs[prompts.index(generation.prompt_token_ids)].token_ids


def live(local: swarm.LocalSwarm, blocks: str) -> list[LocalServer]:
    start, stop = map(int, blocks.split(":"))
    return [server for server in local.servers if server.alive and server.blocks == (start, stop)]


def ensure(local: swarm.LocalSwarm, client: swarm.Client, **counts: int) -> None:
    """At least two servers of every range that the client knows, or as many as `counts` says: first, middle, last."""
    wanted = dict(zip(RANGES, (counts.get(name, 2) for name in ("first", "middle", "last")), strict=True))
    missing = [blocks for blocks, count in wanted.items() for _ in range(count - len(live(local, blocks)))]
    if missing:
        with ThreadPoolExecutor(len(missing)) as pool:
            list(pool.map(local.start, missing))
    alive = {server.peer_id for server in local.servers if server.alive}
    assert wait_until(lambda: alive <= {peer.peer_id for peer in listed(client)}, timeout_s=30)


def start(client: swarm.Client, prompt: str | list[int] = PROMPT, tokens: int = 4) -> Stream:
    """A stream that has come to `tokens` new tokens."""
    stream = client.stream(prompt, max_new_tokens=TOKENS, ignore_eos=True)
    next(stream)
    assert wait_until(lambda: len(stream.generation.token_ids) >= tokens, timeout_s=60)
    return stream


def finish(stream: Stream) -> swarm.Generation:
    for _ in stream:
        pass
    return stream.generation


def hop(local: swarm.LocalSwarm, stream: Stream, index: int) -> LocalServer:
    peer_id = stream.generation.route[index].peer_id
    return next(server for server in local.servers if server.peer_id == peer_id)


def replaced(generation: swarm.Generation) -> set[str]:
    return {peer_id for repair in generation.repairs for peer_id in repair.peer_ids}


def who_gets_a_session(client: swarm.Client, servers: Sequence[LocalServer]) -> LocalServer:
    """Of `servers`, as soon as one has it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        busy = {status.record.peer_id for status in statuses(client) if status.load.sessions}
        for server in servers:
            if server.peer_id in busy:
                return server
    raise AssertionError("nobody got the session")


# --- servers that die ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(3), ids=["first", "middle", "last"])
def test_a_killed_hop_is_replaced_and_never_chosen_again(local, client, expected, index):
    ensure(local, client)
    stream = start(client)
    victim = hop(local, stream, index)
    victim.kill()
    out = finish(stream)
    assert out.token_ids == expected(out)
    assert victim.peer_id in replaced(out)
    assert out.repairs[0].blocks[0] == victim.blocks
    assert not any(repair.planned for repair in out.repairs)
    assert [hop.blocks for hop in out.route] == [(0, 10), (10, 20), (20, 30)]
    again = [client.generate(PROMPT, max_new_tokens=2, ignore_eos=True) for _ in range(4)]
    assert victim.peer_id not in {hop.peer_id for out in [out, *again] for hop in out.route}


def test_two_hops_killed_at_the_same_time_are_both_replaced(local, client, expected):
    ensure(local, client)
    stream = start(client)
    victims = [hop(local, stream, 0), hop(local, stream, 1)]
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    out = finish(stream)
    assert out.token_ids == expected(out)
    assert {victim.peer_id for victim in victims} <= replaced(out)


def test_the_replacement_may_die_as_well_while_it_is_being_filled(local, client, expected):
    ensure(local, client, middle=3)
    stream = start(client, LONG)
    victim = hop(local, stream, 1)
    victim.kill()
    replacement = who_gets_a_session(client, live(local, "10:20"))
    replacement.kill()
    out = finish(stream)
    assert out.token_ids == expected(out)
    assert victim.peer_id in replaced(out)
    assert replacement.peer_id not in {hop.peer_id for hop in out.route}


def test_a_hop_killed_before_the_first_token_costs_no_token(local, client, expected):
    ensure(local, client)
    stream = client.stream(LONG, max_new_tokens=TOKENS, ignore_eos=True)
    running = in_background(lambda: finish(stream))
    victim = who_gets_a_session(client, live(local, "20:30"))
    assert not stream.generation.token_ids
    victim.kill()
    out = running.result(120)
    assert out.token_ids == expected(out)
    assert victim.peer_id not in {hop.peer_id for hop in out.route}


@pytest.mark.parametrize(
    ("first", "second"), [(0, 1), *(pytest.param(1, neighbour, marks=pytest.mark.slow) for neighbour in (2, 0))]
)
def test_a_neighbour_may_die_while_a_replacement_is_being_filled(local, client, expected, first, second):
    ensure(local, client)
    stream = start(client, LONG)
    blocks, neighbour = RANGES[first], hop(local, stream, second)
    hop(local, stream, first).kill()
    who_gets_a_session(client, live(local, blocks))
    neighbour.kill()
    out = finish(stream)
    assert out.token_ids == expected(out)


# --- servers that hang, and that leave -------------------------------------------------------------------------------


def test_a_hop_that_hangs_is_replaced_and_may_wake_up_later(local, client, expected):
    ensure(local, client)
    stream = start(client)
    victim = hop(local, stream, 1)
    os.kill(victim.pid, signal.SIGSTOP)
    assert wait_until(lambda: victim.peer_id in replaced(stream.generation), timeout_s=60)
    os.kill(victim.pid, signal.SIGCONT)
    out = finish(stream)
    assert out.token_ids == expected(out)
    assert wait_until(lambda: pages_in_use(client) == 0, timeout_s=10)  # it has let go of the session too
    victim.kill()


@pytest.mark.parametrize("index", [0, 1, pytest.param(2, marks=pytest.mark.slow)], ids=["first", "middle", "last"])
def test_a_hop_that_leaves_hands_over_before_it_goes(local, client, index):
    ensure(local, client)
    with closing(client.stream(LONG, max_new_tokens=ENDLESS, ignore_eos=True)) as stream:
        next(stream)
        leaver = hop(local, stream, index)
        stopping = in_background(leaver.stop)
        out = goes_on_without(leaver, stream)
    assert [repair.peer_ids for repair in out.repairs if repair.planned] == [(leaver.peer_id,)]
    assert is_as_undisturbed(client, out)
    stopping.result(60)


def goes_on_without(leaver: LocalServer, stream: Stream) -> swarm.Generation:
    """What `stream` has come to a while after the one that leaves was replaced, however long that takes."""
    assert wait_until(lambda: leaver.peer_id in replaced(stream.generation), timeout_s=60)
    enough = len(stream.generation.token_ids) + 8
    assert wait_until(lambda: len(stream.generation.token_ids) >= enough, timeout_s=60)
    return stream.generation


def is_as_undisturbed(client: swarm.Client, out: swarm.Generation) -> bool:
    tokens = list(out.token_ids)
    return tokens == client.generate(LONG, max_new_tokens=len(tokens), ignore_eos=True).token_ids


@pytest.mark.slow
@pytest.mark.parametrize("index", range(2), ids=["first", "middle"])
def test_the_replacement_of_a_hop_that_leaves_may_die_while_it_is_being_filled(local, client, index):
    ensure(local, client, **{("first", "middle")[index]: 3})
    with closing(client.stream(LONG, max_new_tokens=ENDLESS, ignore_eos=True)) as stream:
        next(stream)
        leaver = hop(local, stream, index)
        os.kill(leaver.pid, signal.SIGTERM)
        spares = [server for server in live(local, RANGES[index]) if server is not leaver]
        who_gets_a_session(client, spares).kill()
        out = goes_on_without(leaver, stream)
    assert is_as_undisturbed(client, out)
    leaver.stop()


# --- nobody else -----------------------------------------------------------------------------------------------------


def leave_one(local: swarm.LocalSwarm, blocks: str) -> LocalServer:
    """Stop all servers of a range but one."""
    only, *others = live(local, blocks)
    for other in others:
        other.stop()
    return only


def test_a_generation_waits_for_blocks_that_nobody_serves_and_says_so(local, client, expected):
    ensure(local, client)
    only = leave_one(local, "10:20")
    stream = start(client)
    only.kill()
    assert wait_until(lambda: stream.generation.status, timeout_s=30)
    assert stream.generation.status.startswith("waiting for ")
    assert wait_until(lambda: "blocks 10:20; peer" in stream.generation.status, timeout_s=30)
    local.start("10:20")
    out = finish(stream)
    assert out.token_ids == expected(out)
    assert out.status == ""


def test_a_generation_that_waited_long_enough_names_the_missing_blocks_and_keeps_its_text(local, client, expected):
    ensure(local, client)
    only = leave_one(local, "10:20")
    with swarm.Client("demo", local.peers, coverage_timeout_s=2) as hasty:
        stream = start(hasty)
        only.kill()
        with pytest.raises(swarm.NoRoute, match="10:20"):
            finish(stream)
    out = stream.generation
    assert len(out.token_ids) >= 4
    assert out.token_ids == expected(out)[: len(out.token_ids)]
    assert out.text
    assert not out.finish_reason


@pytest.mark.slow
def test_a_replacement_computes_as_the_client_asked_for(local, client):
    """With a spare of other weights only, a client that wants exact ones waits."""
    ensure(local, client)
    only = leave_one(local, "10:20")
    other = local.start("10:20", quant="int8", dtype="bfloat16")
    with swarm.Client("demo", local.peers, quant="int4", coverage_timeout_s=2) as exact:
        stream = start(exact)
        only.kill()
        with pytest.raises(swarm.NoRoute, match="10:20"):
            finish(stream)
    other.kill()
