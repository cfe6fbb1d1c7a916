"""`python -m swarm status`: what it makes of records and answers, how that looks, and the command on a real swarm."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import swarm
from swarm.cli import status
from swarm.cli.support.commands import serve_command
from swarm.cli.support.picture import Picture
from swarm.errors import PeerUnreachable
from swarm.model.checkpoint import model_name
from swarm.peers.overview import Answer, Overview, State, make_overview
from swarm.peers.survey import Survey, visit
from swarm.route.costs import BATCHES, Link, PeerCosts
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb

NUM_BLOCKS = 12


def peer(
    name: str, start: int, stop: int, *, revision: str = "r1", state: int = pb.ONLINE, **costs: object
) -> PeerInfo:
    endpoint = pb.Endpoint(host="127.0.0.1", port=1234)
    return PeerInfo(
        name,
        "m",
        revision,
        start,
        stop,
        NUM_BLOCKS,
        "float32",
        "none",
        "",
        endpoint,
        state,
        0,
        0,
        pb.Load(),
        PeerCosts(**costs),
    )


def answer(served: int = 0, at_s: float = 0.0, software: str = "swarm-inference 1", **load: int) -> Answer:
    said = pb.Status(load=pb.Load(**load), tokens_served=served, record=pb.PeerRecord(software=software))
    return Answer(said, round_trip_s=0.004, at_s=at_s)


def look(
    *peers: PeerInfo,
    silent: str = "",
    answers: dict[str, Answer] | None = None,
    before: dict[str, Answer] | None = None,
) -> Overview:
    """An overview in which everybody but the peers named by the letters of `silent` answers."""
    everybody = {info.peer_id: answer() for info in peers if info.peer_id not in silent}
    return make_overview("m", peers, {**everybody, **(answers or {})}, before or {}, now_s=1_000_000.0)


def states(view: Overview) -> dict[str, State]:
    return {peer.peer_id: peer.state for peer in view.peers}


# --- the overview ----------------------------------------------------------------------------------------------------

ranges = st.lists(
    st.tuples(st.integers(0, NUM_BLOCKS - 1), st.integers(1, NUM_BLOCKS)).filter(lambda r: r[0] < r[1]),
    min_size=1,
    max_size=8,
)


@given(ranges)
def test_each_block_has_as_many_replicas_as_peers_that_contain_it_and_gaps_where_there_are_none(blocks):
    view = look(*(peer(str(index), *r) for index, r in enumerate(blocks)))
    expected = [sum(block in range(*r) for r in blocks) for block in range(NUM_BLOCKS)]
    assert list(view.replicas) == expected
    missing = {block for gap in view.gaps for block in range(*gap)}
    assert missing == {block for block, count in enumerate(expected) if count == 0}
    assert view.complete == (not missing)


@given(ranges, st.data())
def test_the_expected_throughput_is_that_of_the_block_whose_peers_do_least(blocks, data):
    times = data.draw(st.lists(st.floats(1e-4, 1.0), min_size=len(blocks), max_size=len(blocks)))
    view = look(*(peer(str(i), *r, decode_s=(t,)) for i, (r, t) in enumerate(zip(blocks, times, strict=True))))
    per_block = [
        sum(
            1 / ((stop - start) * time)
            for (start, stop), time in zip(blocks, times, strict=True)
            if start <= block < stop
        )
        for block in range(NUM_BLOCKS)
    ]
    assert view.capacity_tokens_per_s == pytest.approx(per_block)
    assert view.expected_tokens_per_s == pytest.approx(min(per_block))


def test_batches_count_for_the_throughput_where_a_peer_announces_them():
    view = look(peer("a", 0, NUM_BLOCKS, decode_s=(0.001, 0.0015, 0.004)))
    assert view.expected_tokens_per_s == pytest.approx(BATCHES[1] / 0.0015 / NUM_BLOCKS)


def test_nothing_is_expected_of_peers_that_announce_no_costs():
    view = look(peer("a", 0, 6, decode_s=(0.001,)), peer("b", 6, 12))
    assert view.expected_tokens_per_s is None


def test_a_silent_peer_is_shown_but_serves_nothing():
    view = look(peer("a", 0, 6), peer("b", 6, 12), silent="b")
    assert states(view) == {"a": State.ONLINE, "b": State.UNREACHABLE}
    assert view.gaps == ((6, 12),)
    assert view.peers[1].sessions is None
    assert view.peers[1].round_trip_s is None


def test_a_leaving_peer_is_shown_but_serves_no_new_sessions():
    view = look(peer("a", 0, 12, state=pb.LEAVING), peer("b", 0, 6))
    assert states(view) == {"a": State.LEAVING, "b": State.ONLINE}
    assert view.gaps == ((6, 12),)


def test_a_loading_peer_serves_nothing_yet_and_a_moving_one_still_does():
    view = look(peer("a", 0, 6, state=pb.JOINING), peer("b", 6, 12, state=pb.MOVING), silent="a")
    assert states(view) == {"a": State.LOADING, "b": State.MOVING}
    assert view.gaps == ((0, 6),)


def test_a_peer_of_another_revision_than_most_is_flagged_and_covers_nothing():
    view = look(peer("a", 0, 6), peer("b", 0, 12, revision="r0"), peer("c", 0, 6))
    assert view.revision == "r1"
    assert states(view) == {"a": State.ONLINE, "b": State.OTHER_REVISION, "c": State.ONLINE}
    assert view.gaps == ((6, 12),)


@given(st.permutations([peer("a", 0, 6), peer("b", 6, 12, revision="r2"), peer("c", 0, 1), peer("d", 1, 2)]))
def test_the_order_of_the_records_changes_nothing(peers):
    assert look(*peers) == look(*sorted(peers, key=lambda info: info.peer_id))


def test_a_rate_is_what_was_served_between_two_looks():
    before = {"a": answer(100, at_s=10.0), "b": answer(100, at_s=10.0), "c": answer(100, at_s=10.0)}
    now = {"a": answer(160, at_s=12.0), "b": answer(120, at_s=12.0), "c": answer(5, at_s=12.0), "d": answer(9, at_s=12)}
    view = look(peer("a", 0, 6), peer("b", 6, 12), peer("c", 0, 12), peer("d", 0, 12), answers=now, before=before)
    rates = {peer.peer_id: peer.tokens_per_s for peer in view.peers}
    assert rates == {"a": 30.0, "b": 10.0, "c": None, "d": None}  # c has started anew, d was not there
    assert view.tokens_per_s == 10.0  # whatever passed a has passed b


def test_sessions_are_counted_once_though_every_hop_has_them():
    load = {"a": answer(sessions=3), "b": answer(sessions=2), "c": answer(sessions=1)}
    assert look(peer("a", 0, 6), peer("b", 6, 12), peer("c", 6, 12), answers=load).sessions == 3


def test_the_next_hop_is_the_nearest_peer_that_can_go_on():
    links = {"b": Link(0.03), "c": Link(0.01), "d": Link(0.001), "e": Link(0.0001)}
    goes_on = [peer("b", 6, 12), peer("c", 4, 12), peer("d", 0, 6), peer("e", 7, 12)]
    view = look(peer("a", 0, 6, links=links), *goes_on)
    assert {peer.peer_id: peer.next_hop for peer in view.peers}["a"] == "c"


def test_a_swarm_without_peers_of_the_model_is_not_complete():
    view = look()
    assert (view.complete, view.num_blocks, view.expected_tokens_per_s) == (False, 0, None)


def test_a_model_has_its_name_without_being_opened(tmp_path):
    (tmp_path / "my-model").mkdir()
    names = [str(tmp_path / "my-model"), str(tmp_path / "elsewhere" / "m.gguf"), "owner/name", "demo"]
    assert [model_name(name) for name in names] == ["my-model", "m", "owner/name", "demo"]


# --- the picture -----------------------------------------------------------------------------------------------------


def draw(view: Overview, width: int = 80, **options: object) -> list[str]:
    console = Console(width=width, height=24, color_system=None)
    with console.capture() as capture:
        console.print(Picture(view, partial(serve_command, "m", ["ADDRESS"]), **options), crop=False)
    return [line.rstrip() for line in capture.get().splitlines()]


@given(ranges, st.integers(20, 130))
def test_no_line_but_a_command_is_wider_than_the_terminal(blocks, width):
    lines = draw(look(*(peer(f"peer{index}", *r, links={}) for index, r in enumerate(blocks)), silent="peer0"), width)
    assert all(len(line) <= width for line in lines if "python -m" not in line)


def test_the_strip_has_one_character_per_block():
    (strip,) = [line for line in draw(look(peer("a", 0, 6), peer("b", 4, 11))) if "░" in line and "peer" not in line]
    assert strip.split(maxsplit=1)[1].replace(" ", "") == "░░░░▒▒░░░░░·"


def test_a_gap_comes_with_the_command_that_fills_it():
    lines = draw(look(peer("a", 0, 4), peer("b", 6, 12)))
    assert "No peer serves blocks 4:6 of 12. To fill in:" in lines
    assert "  python -m swarm.server --model m --blocks 4:6 --peers ADDRESS" in lines


def test_a_long_command_stays_on_one_line_where_it_may_be_copied():
    assert any(line.endswith("--peers ADDRESS") for line in draw(look(peer("a", 0, 4)), width=40))


def test_a_live_picture_is_no_higher_than_the_terminal_and_says_what_it_leaves_out():
    view = look(*(peer(f"peer{index:02}", 0, 12) for index in range(50)))
    assert len(draw(view)) > 50
    lines = draw(view, live=True)
    assert len(lines) < 24
    assert sum("127.0.0.1" in line for line in lines) + int(lines[-1].split()[2]) == 50


def test_what_a_peer_says_of_itself_cannot_command_the_terminal():
    hostile = "\x1b[2Jevil\x07\u202e[bold]"
    lines = draw(look(peer("a", 0, 12, revision=hostile), answers={"a": answer(software=hostile)}))
    assert "?[2Jevil??[bold]" in "\n".join(lines)
    assert not any(character in "\n".join(lines) for character in "\x1b\x07\u202e")


# --- the survey ------------------------------------------------------------------------------------------------------


class Connection:
    """Answers after `seconds`, one question after another; the last goes on for ever. None: does not answer."""

    def __init__(self, seconds: tuple[float | None, ...] = (0.0,)):
        self._seconds, self.now_s, self.asked, self.closed = list(seconds), 0.0, 0, False

    async def status(self, timeout_s: float, padding_bytes: int = 0) -> pb.Status:
        self.asked += 1
        took_s = self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0]
        if took_s is None:
            raise PeerUnreachable("no answer")
        self.now_s += took_s
        return pb.Status()

    async def close(self, grace_s: float | None = None) -> None:
        self.closed = True


class Listing:
    """A directory that lists other peers every time it is asked."""

    def __init__(self, *lists: list[PeerInfo]):
        self._lists = iter(lists)

    async def peers(self, model: str, joining: bool) -> list[PeerInfo]:
        return next(self._lists)


def looks(count: int, directory: Listing, connection: Connection) -> list[dict[str, State]]:
    async def scenario() -> list[dict[str, State]]:
        survey = Survey(directory, "m", lambda endpoint: connection)
        return [states(await survey.look()) for _ in range(count)]

    return asyncio.run(scenario())


def test_the_first_question_to_a_peer_is_no_round_trip():
    connection = Connection((1.0, 0.03, 0.02))
    found = asyncio.run(visit(connection, clock=lambda: connection.now_s))
    assert found.round_trip_s == pytest.approx(0.02)


def test_a_peer_that_is_listed_no_longer_is_leaving_while_it_answers_and_then_forgotten():
    connection = Connection((0.0,) * 6 + (None,))  # three questions at each look
    seen = looks(3, Listing([peer("a", 0, 12)], [], []), connection)
    assert seen == [{"a": State.ONLINE}, {"a": State.LEAVING}, {}]
    assert connection.closed


def test_a_loading_peer_is_not_called():
    listed = [peer("a", 0, 12, state=pb.JOINING)]
    connection = Connection((None,))
    assert looks(2, Listing(listed, []), connection) == [{"a": State.LOADING}, {}]
    assert not connection.asked


def test_a_peer_that_falls_silent_is_shown_as_long_as_it_is_listed():
    listed = [peer("a", 0, 12)]
    seen = looks(2, Listing(listed, listed), Connection((0.0,) * 3 + (None,)))
    assert seen == [{"a": State.ONLINE}, {"a": State.UNREACHABLE}]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    with swarm.LocalSwarm("demo", ["0:10", "5:20"], threads=1, kv_memory="64M") as running:
        yield running


def test_printed_once_it_shows_coverage_peers_and_the_gap(local, capsys):
    assert status.main(["--once", "--peers", *local.peers]) == 0
    output = capsys.readouterr().out
    assert "2 peers  20 of 30 blocks served" in output
    assert all(server.peer_id[-6:] in output for server in local.servers)
    assert f"python -m swarm.server --blocks 20:30 --peers {local.peers[0]}" in output
    assert "\x1b" not in output


def test_json_has_the_gap_and_what_each_peer_answered(local, capsys):
    assert status.main(["--json", "--peers", *local.peers]) == 0
    view = json.loads(capsys.readouterr().out)
    assert [gap["blocks"] for gap in view["gaps"]] == [[20, 30]]
    assert view["replicas"] == [1] * 5 + [2] * 5 + [1] * 10 + [0] * 10
    assert [peer["peer_id"] for peer in view["peers"]] == [server.peer_id for server in local.servers]
    assert all(peer["state"] == "online" and peer["round_trip_s"] > 0 for peer in view["peers"])


def test_a_model_that_nobody_serves_is_named_with_the_command_to_serve_it(local, capsys):
    assert status.main(["--model", "owner/new", "--peers", *local.peers]) == 0
    output = capsys.readouterr().out
    assert "Nobody in this swarm serves owner/new" in output
    assert "python -m swarm.server --model owner/new --peers" in output


def test_in_a_terminal_it_goes_on_until_ctrl_c_and_ends_without_complaint(local):
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "swarm", "status", "--interval", "0.1", "--peers", *local.peers]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        output = b""
        while output.count(b"blocks served") < 3:
            output += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the terminal has no writer any more
            while data := os.read(ours, 65536):
                output += data
        assert process.wait(30) == 0, output.decode()
    os.close(ours)
    assert b"Traceback" not in output


ERRORS = {
    "": "start one with `python -m swarm.server`",
    "--peers localhost:80": "not a peer address",
    "--interval 0": "--interval must be positive",
}


@pytest.mark.parametrize("arguments", ERRORS)
def test_what_cannot_be_shown_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    assert status.main(arguments.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert ERRORS[arguments] in line
