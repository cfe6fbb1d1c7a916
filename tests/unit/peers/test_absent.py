"""What a client says of blocks that nobody serves."""

import asyncio
from types import SimpleNamespace

import pytest

from swarm import commands
from swarm.commands import Invitation, Membership
from swarm.errors import NoRoute
from swarm.peers.absent import MOST_NAMED, Absent, explained
from swarm.peers.table import Listing
from swarm.route.peer import PeerInfo
from swarm.route.route import uncovered
from swarm.wire import messages_pb2 as pb

NOW_S = 1_000.0


def peer(name: str, start: int = 0, stop: int = 30, heard_s: float = 969.0) -> PeerInfo:
    return PeerInfo(name, "m", "r", start, stop, 30, "float32", "none", "", pb.Endpoint(), 0, int(heard_s * 1000), 0,
                    pb.Load())  # fmt: skip


GAP = uncovered([], 30)
JOINING = Invitation("m", "int8", "float32")
START = "start one with `python -m swarm.server --model m --blocks {} --quant int8 --dtype float32`"


def test_of_one_peer_that_is_silent_it_is_said_that_it_is_there_and_since_when():
    error = explained(GAP, [Absent(peer("me"), "closed the stream", is_silent=True)], NOW_S, JOINING)
    assert str(error) == (
        "blocks 0:30 are served by one peer only, which cannot be used: peer me, last heard 31 s ago, closed the stream"
    )
    assert error.because == "peer me closed the stream"  # no times: it stays the same while nothing happens
    assert error.uncovered == ((0, 30),)


def test_of_several_each_is_named_with_its_reason_the_silent_ones_first():
    absent = [Absent(peer("a"), "was found to cheat"), Absent(peer("b", heard_s=1_001.0), "is silent", is_silent=True)]
    text = str(explained(GAP, absent, NOW_S, JOINING))
    assert "2 peers, none of which can be used: peer b, last heard 0 s ago, is silent; peer a, last" in text


def test_what_is_true_of_most_is_said_last():
    """Else whom a user leaves out hides who is of no use for another reason."""
    left_out = [Absent(peer(f"p{i}"), "is not what this client demands") for i in range(MOST_NAMED)]
    error = explained(GAP, [*left_out, Absent(peer("me"), "was found to cheat")], NOW_S, JOINING)
    assert error.because.startswith("peer me was found to cheat; peer p0 is not what this client demands")


def test_of_many_some_are_named():
    absent = [Absent(peer(f"p{i}"), "is silent", is_silent=True) for i in range(MOST_NAMED + 4)]
    assert str(explained(GAP, absent, NOW_S, JOINING)).endswith("; and 4 more")


def test_what_the_user_may_waive_is_said_first_and_how_before_the_command_that_starts_another():
    """Of all that is wrong it is what can be helped at once."""
    absent = [
        Absent(peer("a"), "is silent", is_silent=True),
        Absent(peer("b"), "has too little at stake, 0 of 1 credit", is_waived_at_will=True),
    ]
    assert str(explained(GAP, absent[1:], NOW_S, JOINING, ["--allow-unstaked uses it"])) == (
        "blocks 0:30 are served by one peer only, which cannot be used: peer b has too little at stake, 0 of 1 credit; "
        "--allow-unstaked uses it; " + START.format("0:30")
    )
    error = explained(GAP, absent, NOW_S, JOINING, ["--allow-unstaked uses it"])
    assert str(error).endswith("peer b has too little at stake, 0 of 1 credit; peer a, last heard 31 s ago, is silent; "
                               "--allow-unstaked uses it")  # fmt: skip
    assert error.because == "peer b has too little at stake, 0 of 1 credit; peer a is silent"


def test_where_nobody_is_silent_the_command_that_helps_is_named_as_well():
    error = explained(GAP, [Absent(peer("me"), "was found to cheat")], NOW_S, JOINING)
    assert str(error) == (
        "blocks 0:30 are served by one peer only, which cannot be used: peer me, last heard 31 s ago, was found to "
        "cheat; " + START.format("0:30")
    )
    assert error.because == "peer me was found to cheat"


def test_of_who_is_gone_it_is_said_that_it_was_there():
    error = explained(GAP, [Absent(peer("me"))], NOW_S, JOINING)
    assert str(error) == f"{GAP}; {START.format('0:30')}; peer me, last heard 31 s ago, served them and is gone"
    assert error.because == "nobody who can be used serves them; peer me served them and is gone"


def test_of_blocks_that_nobody_serves_it_is_said_apart_from_those_that_somebody_does():
    gap = uncovered([peer("there", 0, 2), peer("there", 10, 12)], 30)
    absent = [Absent(peer("me", 0, 20), "is silent", is_silent=True), Absent(peer("gone"))]
    error = explained(gap, absent, NOW_S, JOINING)
    assert str(error) == (
        f"no peer serves blocks 20:30; {START.format('20:30')}; blocks 2:10, 12:20 are "
        "served by one peer only, which cannot be used: peer me, last heard 31 s ago, is silent"
    )
    assert error.because == "nobody serves 20:30; peer me is silent"
    assert error.uncovered == ((2, 10), (12, 30))


def test_peers_of_other_blocks_have_nothing_to_do_with_it():
    gap = uncovered([peer("there", 0, 20)], 30)
    error = explained(gap, [Absent(peer("other", 0, 20), "is silent", is_silent=True)], NOW_S, JOINING)
    assert (str(error), error.because) == (f"{gap}; {START.format('20:30')}", "nobody serves them")


def test_what_is_wrong_with_a_price_is_not_explained_by_peers():
    dear = NoRoute("no chain costs at most 1")
    assert explained(dear, [Absent(peer("me"), "is silent", is_silent=True)], NOW_S, JOINING) is dear


def test_who_was_listed_is_remembered_until_it_is_back():
    async def scenario() -> list[list[str]]:
        async def peers(model: str) -> list[PeerInfo]:
            return listed

        async def ignore(peers: list[PeerInfo]) -> None:
            pass

        listing, gone = Listing(SimpleNamespace(peers=peers), "m", ignore), []
        for names in ("ab", "b", "a"):
            listed = [peer(name) for name in names]
            await listing.refresh()
            gone.append([one.peer_id for one in listing.gone])
        return gone

    assert asyncio.run(scenario()) == [[], ["a"], ["b"]]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "--model /path/other --blocks 0:30 --peers /ip4/127.0.0.1/tcp/1/p2p/x --secret-file FILE`"),
        (
            "192.0.2.7",
            "--model other --blocks 0:30 --host 0.0.0.0 --peers /ip4/192.0.2.7/tcp/1/p2p/y --secret-file FILE`",
        ),
    ],
)
def test_the_command_that_would_help_joins_this_swarm_from_where_it_is_typed(host, words, monkeypatch):
    monkeypatch.setattr(commands, "pasted_model", lambda model: model.rpartition("/")[2])
    given = ["/ip4/127.0.0.1/tcp/1/p2p/x"]
    membership = Membership("/path/other", given, [*given, "/ip4/192.0.2.7/tcp/1/p2p/y"], is_private=True)

    error = explained(GAP, [], NOW_S, membership.invitation([host], "none", None))
    assert words in str(error)
