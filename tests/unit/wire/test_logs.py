"""What a process logs: what repeats itself is said now and then, and everything in the format that is asked for."""

import argparse
import json
import logging
import re
import warnings
from collections.abc import Sequence
from datetime import datetime

import pytest

from swarm.cli.support import logs
from swarm.cli.support.logs import AGAIN_S, MOST_REMEMBERED, Seldom
from swarm.errors import InvalidRequest


def record(message: str, *args: object, failed: bool = False) -> logging.LogRecord:
    failure = (RuntimeError, RuntimeError("x"), None) if failed else None
    return logging.LogRecord("swarm", logging.WARNING, "file", 1, message, args, failure)


def test_what_repeats_itself_is_said_once_in_a_while_and_how_often_it_was_not():
    now_s = 100.0
    seldom = Seldom(lambda: now_s)
    assert seldom.filter(record("%s is full", "the disk"))
    assert not any(seldom.filter(record("%s is full", "the disk")) for _ in range(7))
    assert seldom.filter(record("%s is full", "the memory"))
    now_s += AGAIN_S
    again = record("%s is full", "the disk")
    assert seldom.filter(again)
    assert again.getMessage() == "the disk is full (and 7 times more since)"


def test_tracebacks_from_one_place_are_the_same_whatever_their_figures():
    seldom = Seldom()
    assert seldom.filter(record("a batch of %d slices failed", 3, failed=True))
    assert not seldom.filter(record("a batch of %d slices failed", 4, failed=True))
    assert seldom.filter(record("a batch of %d slices failed", 4))


def test_what_is_remembered_is_bounded():
    seldom = Seldom()
    for number in range(MOST_REMEMBERED + 10):
        assert seldom.filter(record(f"message {number}"))
    assert len(seldom._said) == MOST_REMEMBERED


# --- how it is written -----------------------------------------------------------------------------------------------


@pytest.fixture
def follow(monkeypatch):
    """Sets up logging by a command line, as in a process in which nobody else has, but for the handlers given;
    afterwards everything is as it was."""
    before = {name: logging.getLogger(name).level for name in ("", *logs._OURS, *logs._ALWAYS, *logs._TO_FILES)}
    monkeypatch.delenv(logs.FORMAT_VARIABLE, raising=False)
    parser = argparse.ArgumentParser()
    logs.add_options(parser)
    parser.add_argument("--json", action="store_true")

    def follow(*arguments: str, handlers: Sequence[logging.Handler] = ()) -> None:
        monkeypatch.setattr(logging.root, "handlers", list(handlers))  # here: pytest has its own by now
        logs.set_up()
        logs.follow(parser.parse_args(arguments))

    yield follow
    logging.captureWarnings(False)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_a_line_in_a_file_has_the_date_and_the_offset_from_utc_and_on_a_terminal_the_time_of_day():
    one = record("%s is full", "the disk")
    when, level, message = logs.TextLines(short=False).format(one).split(" ", 2)
    assert datetime.fromisoformat(when).utcoffset() is not None
    assert abs(datetime.fromisoformat(when).timestamp() - one.created) < 0.001
    assert (level, message) == ("WARNING", "the disk is full")
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING the disk is full", logs.TextLines(short=True).format(one))


def test_a_line_of_json_has_what_the_caller_added_and_a_traceback_within():
    one = record("session %s closed", "ab", failed=True)
    one.session, one.blocks = "ab" * 16, [0, 10]
    line = logs.JsonLines().format(one)
    told = json.loads(line)
    assert "\n" not in line and datetime.fromisoformat(told.pop("time"))
    assert told == {
        "level": "WARNING", "logger": "swarm", "message": "session ab closed", "session": "ab" * 16, "blocks": [0, 10],
        "exception": "RuntimeError: x",
    }  # fmt: skip


def test_only_what_the_user_must_know_is_logged_unless_more_is_asked_for(follow, capsys):
    follow("--json")
    logging.getLogger("swarm.server.rpc").info("a session")
    logging.getLogger("swarm.server.loading").info("loaded")
    logging.getLogger("swarm_kernels.cpu.build").info("building takes a while")
    logging.getLogger("swarm.server.rpc").warning("a disk")
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()] == [
        "building takes a while", "a disk",
    ]  # fmt: skip
    follow("--verbose")
    logging.getLogger("swarm.server.rpc").info("a session")
    logging.getLogger("httpx").info("a request")
    assert capsys.readouterr().err.endswith(" INFO a session\n")


def test_where_there_is_no_terminal_a_line_takes_the_place_of_the_bar(follow, capsys):
    follow()
    logging.getLogger("swarm.server.loading").info("loading blocks 0:10 … done in 3.2 s")
    assert capsys.readouterr().err.endswith(" INFO loading blocks 0:10 … done in 3.2 s\n")


@pytest.mark.parametrize(("asked", "variable"), [(["--log-format", "json"], ""), ([], "json")])
def test_the_format_is_asked_for_on_the_command_line_or_in_the_environment(
    follow, monkeypatch, capsys, asked, variable
):
    monkeypatch.setenv(logs.FORMAT_VARIABLE, variable)
    follow(*asked)
    logging.getLogger("swarm.x").warning("a disk")
    logging.getLogger("py.warnings").warning("Python's own")
    assert warnings.showwarning is logging._showwarning
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["logger"] for one in told] == ["swarm.x", "py.warnings"]


def test_an_unknown_format_in_the_environment_is_named(follow, monkeypatch):
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "xml")
    with pytest.raises(InvalidRequest, match="SWARM_LOG_FORMAT is text or json, not 'xml'"):
        follow()


def test_whoever_has_set_up_logging_keeps_it(follow):
    own = logging.NullHandler()
    follow("--verbose", "--log-format", "json", handlers=[own])
    assert logging.root.handlers == [own]
    assert not logging.getLogger("swarm").isEnabledFor(logging.INFO)
