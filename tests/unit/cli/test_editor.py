"""The line editor of a chat, with keys that nobody presses by intent."""

import io

import pytest
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from swarm.cli.chat import editor
from swarm.cli.chat.editor import Editor


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """Of keys: what is sent, message by message, until the keyboard is gone; ^C where the chat would hear of it."""
    monkeypatch.setattr(editor, "_output", lambda terminal: DummyOutput())
    # Which would wait for somebody to press Enter.
    monkeypatch.setattr(
        Application, "_handle_exception", lambda app, loop, context: app.exit(exception=context["exception"])
    )

    def read(lines: Editor) -> str | None:
        try:
            return lines.read()
        except KeyboardInterrupt:
            return "^C"

    def of(keys: str) -> list[str | None]:
        monkeypatch.setattr(editor.sys, "stdout", Terminal())
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            lines = Editor(tmp_path / "history")
            keyboard.send_text(keys)
            keyboard.close()
            return list(iter(lambda: read(lines), None))

    return of


def test_what_is_typed_is_sent(typed):
    assert typed("one\rtwo\\\rlines\rdiscarded\x03\x03") == ["one", "two\nlines", "^C"]


@pytest.mark.parametrize(
    "code", ["\x1b[31m", "\x1b[0m", "\x1b[1;31m", "\x1b[<0;1;1M", "\x1b[M!!!", "\x1b[M\xff\xff\xff"]
)
def test_codes_of_colours_and_mice_are_passed_over(typed, code):
    assert typed(f"a{code}b\r") == ["ab"]


def test_ctrl_c_and_enter_in_a_search_leave_the_search(typed):
    assert typed("one\r\x12on\x03\x03two\r") == ["one", "^C", "two"]
    assert typed("one\rdraft\x12on\x03 is kept\r") == ["one", "draft is kept"]
    assert typed("two\x12tw\rone \r") == ["one two"]  # where it was found


def test_ctrl_c_discards_also_what_was_marked_and_waits_for_no_other_key(typed):
    assert typed("marked\x00\x01\x03\rnext\r") == ["", "next"]
