"""Whom a client may use: policies and the table, without a network."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from listed import BLOCKS, peer
from swarm.errors import NoRoute, PeerUnreachable, RevisionMismatch, SwarmError
from swarm.peers.policy import NotShunned, PeerPolicy, SameModel, Signing, TakesSessions, Terms, accepted, hints
from swarm.peers.reputation import Reputation
from swarm.peers.table import PeerTable
from swarm.route.peer import PeerInfo
from swarm.route.route import uncovered
from swarm.wire.formats.quotes import Price, Quote


class Only(PeerPolicy):
    """Takes those that are named."""

    def __init__(self, *names: str):
        self.names, self.asked = names, []

    def accept(self, peer: PeerInfo) -> bool:
        self.asked.append(peer.peer_id)
        return peer.peer_id in self.names

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        return NoRoute(f"only {', '.join(self.names)}")

    def hint(self, peers: Sequence[PeerInfo]) -> str:
        return "".join(f"not {one.peer_id}" for one in peers if one.peer_id not in self.names)


class Shunning(Reputation):
    def __init__(self, *shunned: str):
        self._shunned, self.crashes = shunned, []

    def is_shunned(self, peer_id: str) -> bool:
        return peer_id in self._shunned

    def crashed(self, peer_id: str) -> None:
        self.crashes.append(peer_id)


def names(peers: Sequence[PeerInfo]) -> list[str]:
    return [one.peer_id for one in peers]


# --- policies --------------------------------------------------------------------------------------------------------


def test_only_those_are_left_that_all_policies_take():
    three = [peer("a"), peer("b"), peer("c")]
    assert names(accepted([Only("a", "b"), Only("b", "c")], "m", three)) == ["b"]
    assert names(accepted([], "m", three)) == ["a", "b", "c"]
    assert names(accepted([PeerPolicy()], "m", three)) == ["a", "b", "c"]


def test_the_first_policy_that_leaves_nobody_says_why_and_the_next_is_not_asked():
    later = Only("b")
    with pytest.raises(NoRoute, match="only x"):
        accepted([Only("x"), later], "m", [peer("a"), peer("b")])
    assert later.asked == []


def test_where_there_was_nobody_in_the_first_place_nothing_is_refused():
    assert list(accepted([Only("x")], "m", [])) == []


def test_a_policy_hints_at_those_only_that_the_ones_before_it_take():
    assert hints([Only("a", "b"), Only("b")], [peer("a"), peer("b"), peer("c")]) == ["not c", "not a"]


def test_another_revision_or_depth_is_another_model():
    policy = SameModel("r", BLOCKS)
    assert policy.accept(peer("a"))
    assert not policy.accept(peer("a", revision="older"))
    assert not SameModel("r", BLOCKS + 1).accept(peer("a"))
    with pytest.raises(RevisionMismatch, match="in revision older"):
        accepted([policy], "m", [peer("a", revision="older")])


def test_who_is_shunned_is_not_used():
    policy = NotShunned(Shunning("a"))
    assert names(accepted([policy], "m", [peer("a"), peer("b")])) == ["b"]
    with pytest.raises(NoRoute, match="no peer of 'm' is used: 1 peer found to cheat"):
        accepted([policy], "m", [peer("a")])


def test_terms_say_what_they_demand_and_what_there_is():
    there = r"with quant int8, as this client demands; there is quant none with"
    with pytest.raises(NoRoute, match=there) as caught:
        accepted([Terms(quant="int8")], "m", [peer("a")])
    assert caught.value.blocks == f"0:{BLOCKS}"  # so that it is waited for


@pytest.mark.parametrize("terms, whom", [(Terms(), ""), (Terms(quant="none"), " with quant none")])
def test_of_peers_that_serve_as_demanded_and_want_to_be_paid_it_is_said_that_they_do(terms, whom):
    asks = Quote(bytes(32), price=Price(1, 1))
    there = [peer("a", asks=asks)] + [peer("b", quant="int4")] * bool(terms.quant)
    with pytest.raises(NoRoute) as caught:
        accepted([terms], "m", there)
    wanted = (
        f"no peer of 'm'{whom} works for nothing; they want to be paid on the ledger {'0' * 16}: pay there, with ledger"
    )
    assert str(caught.value) == wanted


# --- the table -------------------------------------------------------------------------------------------------------


class Directory:
    def __init__(self, *peers: PeerInfo):
        self.listed, self.asked = list(peers), 0

    async def peers(self, model: str) -> list[PeerInfo]:
        self.asked += 1
        return list(self.listed)

    async def leave(self) -> None:
        pass


class Looking(PeerPolicy):
    def __init__(self) -> None:
        self.seen, self.closed = [], False

    async def look(self, peers: Sequence[PeerInfo]) -> None:
        self.seen.append(names(peers))

    def close(self) -> None:
        self.closed = True


CHECKPOINT = SimpleNamespace(name="m", revision="r", config=SimpleNamespace(num_blocks=BLOCKS, hidden_size=8))


def table_of(directory: Directory, *policies: PeerPolicy, **options: object) -> PeerTable:
    return PeerTable(directory, CHECKPOINT, policies, **options)


def test_a_table_is_read_again_only_when_it_is_too_old_and_policies_see_every_reading():
    async def scenario() -> tuple[int, Looking]:
        directory, looking = Directory(peer("a"), peer("b")), Looking()
        table = table_of(directory, looking)
        await table.refresh()
        asked = directory.asked
        await table.refresh(max_age_s=60)
        unasked = directory.asked - asked
        directory.listed.pop()
        await table.refresh()
        await table.close()
        return unasked, looking

    unasked, looking = asyncio.run(scenario())
    assert unasked == 0
    assert looking.seen[0] == ["a", "b"] and looking.seen[-1] == ["a"]
    assert looking.closed


def test_sessions_that_wait_have_their_looks_at_the_directory_in_common():
    """Also where it does not answer, which takes long."""

    class Silent(Directory):
        async def peers(self, model: str) -> list[PeerInfo]:
            await super().peers(model)
            await asyncio.sleep(0.05)
            raise PeerUnreachable("no answer")

    async def scenario() -> int:
        directory = Silent()
        table = table_of(directory)
        await asyncio.gather(*(table.look_again() for _ in range(64)))
        await table.close()
        return directory.asked

    assert asyncio.run(scenario()) <= 4  # of which two go on in the background


def test_a_peer_that_failed_is_not_used_until_its_record_must_have_been_renewed(monkeypatch):
    async def scenario() -> tuple[list[str], list[str], list[str]]:
        reputation = Shunning()
        table = table_of(Directory(peer("a"), peer("b")), reputation=reputation)
        await table.refresh()
        for _ in range(2):
            table.report_failure("a")  # the same failure, that two sessions have met
        left = names(table.usable())
        monkeypatch.setattr("swarm.peers.table.time.monotonic", lambda: float("inf"))
        later = names(table.usable())
        monkeypatch.undo()
        await table.close()
        return left, later, reputation.crashes

    left, later, crashes = asyncio.run(scenario())
    assert left == ["b"]
    assert later == ["a", "b"]
    assert crashes == ["a"]


def test_own_sessions_are_load_before_the_directory_hears_of_them():
    async def scenario() -> tuple[int, int]:
        own = Counter({"a": 2})
        table = table_of(Directory(peer("a")), own_sessions=lambda: own)
        await table.refresh()
        before = table.load(table.listed()[0]).decoding
        own["a"] += 1
        after = table.load(table.listed()[0]).decoding
        await table.close()
        return before, after

    assert asyncio.run(scenario()) == (2, 3)


def test_who_is_to_be_avoided_is_not_used_this_time():
    async def scenario() -> list[str]:
        table = table_of(Directory(peer("a"), peer("b")))
        await table.refresh()
        left = names(table.usable(avoid={"b"}))
        await table.close()
        return left

    assert asyncio.run(scenario()) == ["a"]


def test_of_whom_is_to_be_avoided_it_is_said_that_it_is_there_and_why_it_is_not_used():
    async def scenario() -> str:
        table, avoid = table_of(Directory(peer("a"), peer("b", quant="int4")), Terms(quant="none")), {"a": "lied"}
        await table.refresh()
        assert table.usable(avoid) == []  # not that there is nobody on the client's terms
        error = table.explained(uncovered(table.usable(avoid), BLOCKS), avoid)
        await table.close()
        return error.because

    assert asyncio.run(scenario()) == (
        "peer a lied; peer b serves with quant int4 and dtype float32, and this client wants peers with quant none"
    )


def test_what_would_help_is_a_peer_in_the_format_that_the_client_demands_or_in_that_of_most():
    async def scenario(terms: Terms) -> str:
        table = table_of(Directory(peer("a", quant="int4", dtype="bfloat16")), terms)
        await table.refresh()
        error = table.explained(NoRoute("no peer", [(0, 2)]), terms=terms)
        await table.close()
        return str(error)

    assert "--blocks 0:2 --quant int4 --host" in asyncio.run(scenario(Terms()))
    assert "--blocks 0:2 --quant int8 --dtype float32 --host" in asyncio.run(scenario(Terms("float32", "int8")))


def test_who_signs_nothing_is_not_used_where_receipts_are_wanted():
    signing, unsigned = peer("signing"), peer("unsigned", unsigned=True)
    assert names(accepted([Signing()], "m", [signing, unsigned])) == ["signing"]
    assert "receipts=False" in hints([Signing()], [signing, unsigned])[0] and not hints([Signing()], [signing])
    with pytest.raises(NoRoute, match="do without receipts"):
        accepted([Signing()], "m", [unsigned])


def test_who_takes_no_sessions_is_not_chosen_and_says_why():
    policy, paused = TakesSessions(), peer("peer-a", paused="its disk is full")
    assert names(accepted([policy], "m", [paused, peer("b")])) == ["b"]
    assert policy.why(paused) == "takes no new sessions for now: it says that its disk is full"
    with pytest.raises(NoRoute, match="no peer of 'm' takes new sessions for now: peer peer-a says") as caught:
        accepted([policy], "m", [paused])
    assert caught.value.blocks == f"0:{BLOCKS}"  # so that it is waited for


def test_who_is_there_and_of_no_use_or_was_there_is_named_with_the_reason(monkeypatch):
    async def scenario() -> str:
        directory = Directory(peer("left"), peer("cheat"), peer("hung"))
        table = table_of(directory, reputation=Shunning("cheat"))
        await table.refresh()
        del directory.listed[0]
        await table.refresh()
        monkeypatch.setattr("swarm.clock.now_s", lambda: 31.0)
        table.report_failure("hung", "peer hung at :0 is silent, after 0.9 s without an answer")
        error = table.explained(uncovered(table.usable(), BLOCKS))
        monkeypatch.undo()
        await table.close()
        return str(error)

    assert asyncio.run(scenario()) == (
        "blocks 0:10 are served by 2 peers, none of which can be used: peer hung, last heard 31 s ago, is silent, "
        "after 0.9 s without an answer; peer cheat, last heard 31 s ago, was found to cheat"
    )
