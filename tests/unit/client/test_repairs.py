"""A repair that nobody can take over yet waits, says what for, and gives up in time; and repairs are counted."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from memory_hops import OPTIONS
from swarm.errors import NoRoute, PeerUnreachable, RevisionMismatch, SwarmError
from swarm.generate.generator import add_repairs
from swarm.results import Generation, Repair
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop, uncovered
from swarm.session.chain import Chain
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.session.hop import HopFailed
from swarm.session.recovery import Recovery, Spares
from swarm.session.session import Session
from swarm.wire import messages_pb2 as pb


def hop_of(name: str) -> Hop:
    endpoint = pb.Endpoint(peer_id=name, host="127.0.0.1", port=1)
    return Hop(PeerInfo(name, "m", "r", 0, 10, 30, "float32", "none", "", endpoint, False, 0, 2**60, pb.Load()), 0, 10)


class NobodyElse:
    """Spares that know nobody. why: they say."""

    def __init__(self, why: SwarmError):
        self._why, self.looks = why, 0

    def replaceable(self, lost: Sequence[Hop]) -> list[Hop]:
        return []

    def report_failure(self, peer_id: str, why: str) -> None:
        pass

    async def replacement(self, lost: Sequence[Hop], *others: object) -> list[Hop]:
        await asyncio.sleep(0.01)  # the directory is asked
        self.looks += 1
        raise self._why


def coverage_of(timeout_s: float, told: list[str]) -> WaitForCoverage:
    return WaitForCoverage(timeout_s, told.append, Waits())


async def repair(spares: Spares, timeout_s: float, told: list[str]) -> None:
    chain = Chain(OPTIONS)
    gone = HopFailed(PeerUnreachable("gone"), ["x"])
    chain.streams = [SimpleNamespace(failure=gone, hop=hop_of("x"), close=lambda: None)]
    async with asyncio.timeout(2):
        await Recovery(chain, spares, coverage_of(timeout_s, told)).repair(answered=0)


TOO_DEAR = NoRoute("no chain costs at most 1 credit")
OTHER_WEIGHTS = RevisionMismatch("the swarm serves 'm' in revision s, this client has r")
GAP = uncovered([], 30, 0, 10)


@pytest.mark.parametrize("why", [GAP, TOO_DEAR, OTHER_WEIGHTS])
def test_a_repair_that_finds_nobody_in_time_ends_with_the_reason(why):
    with pytest.raises(HopFailed) as failure:
        asyncio.run(repair(NobodyElse(why), 0.0, []))
    assert failure.value.cause is why
    assert not failure.value.peer_ids


@pytest.mark.parametrize(
    "why, status",
    [
        (GAP, "waiting for blocks 0:10; nobody serves them (0 s more)"),
        (TOO_DEAR, f"waiting, since {TOO_DEAR} (0 s more)"),
        (OTHER_WEIGHTS, f"waiting, since {OTHER_WEIGHTS} (0 s more)"),
    ],
)
def test_a_repair_waits_for_whoever_may_come_and_says_what_it_waits_for(why, status):
    told, spares = [], NobodyElse(why)
    with pytest.raises(HopFailed):
        asyncio.run(repair(spares, 0.1, told))
    assert told == [status, ""]
    assert spares.looks == 2


class SomeElse(NobodyElse):
    """Who knows others for these hops."""

    def __init__(self, *names: str):
        super().__init__(GAP)
        self._names = names

    def replaceable(self, lost: Sequence[Hop]) -> list[Hop]:
        return [hop for hop in lost if hop.peer.peer_id in self._names]


def given_up(silent: str, others: str, coverage: WaitForCoverage) -> str:
    """Of the chain "abc"."""
    chain = Chain(OPTIONS)
    chain.streams = [SimpleNamespace(hop=hop_of(name)) for name in "abc"]
    quiet = [stream for stream in chain.streams if stream.hop.peer.peer_id in silent]
    lost = Recovery(chain, SomeElse(*others), coverage).given_up(quiet)
    return "".join(stream.hop.peer.peer_id for stream in lost)


@pytest.mark.parametrize(
    "silent, others, expected",
    [
        ("b", "", ""),
        ("b", "b", "b"),
        ("ab", "ab", "ab"),
        ("ac", "a", "a"),  # c may be silent for no reason of its own
        ("ac", "c", "c"),
        ("ab", "b", ""),  # a would have to fill b's replacement, and is waited for
    ],
)
def test_each_hop_that_says_nothing_is_judged_by_whether_somebody_could_take_its_place(silent, others, expected):
    """One that nobody could replace may only be slow. To give it up would cost all that it holds, and win nothing."""
    told: list[str] = []
    assert given_up(silent, others, coverage_of(30.0, told)) == expected
    names = " and ".join(silent)
    waiting = f"waiting for an answer of {names}; nobody else serves the same blocks (30 s more)"
    assert told == ([] if expected else [waiting])


def test_however_often_a_lone_hop_falls_silent_it_is_waited_for_so_long_in_all_until_there_is_progress(monkeypatch):
    now_s, told = 100.0, []
    monkeypatch.setattr("swarm.session.coverage.time.monotonic", lambda: now_s)
    coverage = coverage_of(30.0, told)
    assert given_up("b", "", coverage) == ""
    coverage.over()  # it said something
    now_s += 29
    assert given_up("b", "", coverage) == ""
    now_s += 2
    assert given_up("b", "", coverage) == "b"
    assert not asyncio.run(coverage.pause(GAP))  # nor is anybody else waited for
    coverage.got_to(8)
    assert given_up("b", "", coverage) == ""
    now_s += 31
    coverage.got_to(8)  # computed again
    assert given_up("b", "", coverage) == "b"


def test_what_was_said_of_a_silent_hop_is_taken_back_as_soon_as_it_answers_that_it_is_at_work():
    told, answers = [], iter([None, pb.Progress(received=8)])

    async def probe() -> pb.Progress | None:
        return next(answers)

    async def scenario() -> None:
        session = Session([hop_of("x")], [], OPTIONS, SomeElse(), coverage=coverage_of(30.0, told))
        session.chain.streams = [SimpleNamespace(hop=hop_of("x"), probe=probe)]
        for _ in range(2):
            await session._ask_around(None, 0.5)

    asyncio.run(scenario())
    assert told == ["waiting for an answer of x; nobody else serves the same blocks (30 s more)", ""]


def test_what_many_sessions_wait_for_is_logged_once_and_again_when_it_changes(caplog):
    async def waits(shared: Waits, *missing: SwarmError) -> None:
        with WaitForCoverage(30.0, lambda status: None, shared) as coverage:
            for one in missing:
                await coverage.pause(one)

    async def scenario() -> None:
        shared = Waits()
        await asyncio.gather(*(waits(shared, GAP, GAP, TOO_DEAR) for _ in range(3)))
        await waits(shared, GAP)  # anew

    asyncio.run(scenario())
    gap, dear = "waiting for blocks 0:10; nobody serves them", f"waiting, since {TOO_DEAR}"
    said = [record.message.rsplit(" (", 1) for record in caplog.records]
    assert [what for what, _ in said] == [gap, dear, gap]
    assert all(limit.endswith(" s more, Ctrl-C to stop)") for _, limit in said)


def test_a_repair_whose_spares_all_refuse_says_what_they_said_and_lets_them_be_remembered():
    noted: list[tuple[str, int]] = []

    class FullCall:
        def __init__(self):
            failure = pb.Failure(code="PeerBusy", message="no room", load=pb.Load(sessions=7))
            self._answers = [pb.ToClient(failure=failure)]

        async def write(self, message: pb.ToServer) -> None:
            pass

        async def read(self) -> pb.ToClient:
            return self._answers.pop()

        def cancel(self) -> None:
            pass

    class FullSpare(NobodyElse):
        async def replacement(self, lost: Sequence[Hop], before: None, after: None, tokens: int, avoid: set[str],
                              background: bool) -> list[Hop]:  # fmt: skip
            if "full" in avoid:
                await super().replacement(lost)
            return [hop_of("full")]

        def connection_to(self, info: PeerInfo) -> SimpleNamespace:
            return SimpleNamespace(peer_id=info.peer_id, address=info.peer_id, session=FullCall)

        def note_refusal(self, failure: HopFailed, hops: Sequence[Hop]) -> None:
            noted.append((hops[0].peer.peer_id, failure.load.sessions))

    told: list[str] = []
    with pytest.raises(HopFailed, match="0:10: no room"):
        asyncio.run(repair(FullSpare(GAP), 0.1, told))
    assert told == ["waiting, since nobody can take over blocks 0:10: no room (0 s more)", ""]
    assert noted == [("full", 7)] * 2


def test_a_generation_counts_what_was_replaced_whether_part_of_a_chain_or_all_of_it():
    generation = Generation([], reroutes=1)  # one chain was given up
    lost, left = Repair(("x",), ((0, 10),), 5, 0.1, planned=False), Repair(("y",), ((0, 10),), 6, 0.1, planned=True)
    add_repairs(generation, [lost])
    add_repairs(generation, [left])
    assert generation.repairs == [lost, left]
    assert generation.reroutes == 2
