"""Text on a terminal, and what is logged meanwhile."""

import io
import logging
import sys

import pytest

from swarm.cli.support.logs import Seldom
from swarm.cli.support.streamed import Streamed, printable


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def make(monkeypatch):
    """Standard output and error as one terminal, and a handler of the root logger that writes there. In the test: at
    its beginning pytest sets standard output once more."""

    def make() -> tuple[Streamed, Terminal]:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        handler = logging.StreamHandler(terminal)
        handler.addFilter(Seldom())
        monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
        return Streamed(), terminal

    return make


def test_a_warning_is_on_a_line_of_its_own(make):
    shown, terminal = make()
    with shown.between_lines():
        shown.write("Once upon")
        logging.warning("a peer is gone")
        shown.write(" a time\n")
        logging.warning("another")
    assert terminal.getvalue() == "Once upon\na peer is gone\n a time\nanother\n"


def test_what_is_said_seldom_breaks_no_line_when_it_is_not_said(make):
    shown, terminal = make()
    with shown.between_lines():
        logging.warning("again")
        shown.write("text")
        logging.warning("again")
        shown.write(" goes on")
        shown.begin()
        logging.warning("again")
    assert terminal.getvalue() == "again\ntext goes on\nagain\n"


def test_a_warning_waits_while_somebody_types(make):
    shown, terminal = make()
    with shown.between_lines():
        with shown.held():
            logging.warning("a peer is gone")
            assert terminal.getvalue() == ""
        assert terminal.getvalue() == "a peer is gone\n"


def test_a_file_gets_the_text_as_it_is_and_nothing_else(capsys):
    shown = Streamed()
    shown.write("\x1b[31mred")
    shown.note("a note")
    assert capsys.readouterr() == ("\x1b[31mred", "a note\n")


def test_a_terminal_gets_no_commands_of_strangers(make):
    shown, terminal = make()
    shown.write("\x1b]0;title\x07\x9b2Jred\r\n\ttab é 漢")
    assert terminal.getvalue() == "]0;title2Jred\n\ttab é 漢"
    assert printable("") == ""
