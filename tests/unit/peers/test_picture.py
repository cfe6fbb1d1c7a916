"""How `swarm status` draws a swarm, and how it asks peers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from overviews import answer, look, peer, ranges, states
from swarm.cli.support.picture import Picture
from swarm.commands import Invitation
from swarm.errors import PeerUnreachable
from swarm.peers.status.overview import Overview, State
from swarm.peers.status.survey import Survey, visit
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb

# --- the picture -----------------------------------------------------------------------------------------------------


def draw(view: Overview, width: int = 80, **options: object) -> list[str]:
    console = Console(width=width, height=24, color_system=None)
    with console.capture() as capture:
        console.print(Picture(view, Invitation("m", peers=["ADDRESS"]).serve, **options), crop=False)
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
