"""Messages typed into a terminal: a line editor with history. Imported only where there is a terminal."""

import os
import sys
from asyncio import get_running_loop
from pathlib import Path
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.data_structures import Size
from prompt_toolkit.filters import is_searching
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output

from swarm.cli.chat.history import FileHistory
from swarm.cli.support.shutdown import SHUTDOWN

PROMPT, CONTINUATION = "> ", "… "


class _Discarded(Exception):
    """What was typed is not sent."""


class Editor:
    """Enter sends; a backslash before it, or Esc before it, begins a new line, and so does pasted text. Ctrl-C
    discards what was typed."""

    def __init__(self, history: Path | None):
        """history: its file; None: what is typed is forgotten at the end."""
        self._output = _output(next(stream for stream in (sys.stdout, sys.stderr) if stream.isatty()))
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(history) if history else InMemoryHistory(),
            multiline=True,
            key_bindings=_bindings(),
            prompt_continuation=CONTINUATION,
            output=self._output,
        )

    def read(self) -> str | None:
        """Raises KeyboardInterrupt for Ctrl-C where nothing was typed."""
        while True:
            try:
                return self._session.prompt(PROMPT, pre_run=_keep_hearing, handle_sigint=False)
            except _Discarded:
                continue
            except EOFError:
                return None
            finally:
                SHUTDOWN.hear_signals()  # the editor's event loop had them reported to itself
                self._restore()

    def _restore(self) -> None:
        """The terminal, which a signal in the middle of drawing the prompt would leave as it was made for that."""
        self._output.disable_bracketed_paste()
        self._output.show_cursor()
        self._output.flush()


def _keep_hearing() -> None:
    """Once the editor's event loop has had its way with signals."""
    get_running_loop().call_soon(SHUTDOWN.hear_signals)


def _output(terminal: TextIO) -> Vt100_Output:
    """Which asks the terminal nothing: not all answer, and some answers would be taken for typed text."""

    def size() -> Size:
        try:
            columns, rows = os.get_terminal_size(terminal.fileno())
        except OSError:  # it was closed
            columns, rows = 0, 0
        return Size(rows=rows or 24, columns=columns or 80)

    return Vt100_Output(terminal, size, term=os.environ.get("TERM"), enable_cpr=False)


def _bindings() -> KeyBindings:
    """Beside those of the editor itself, which stay where its search has the focus: Ctrl-C and Enter leave that."""
    bindings = KeyBindings()

    @bindings.add("enter", filter=~is_searching)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter", filter=~is_searching)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @bindings.add("c-c", filter=~is_searching, eager=True)  # of marked text, the editor has bindings that begin so
    def _(event: KeyPressEvent) -> None:
        event.app.exit(exception=_Discarded() if event.current_buffer.text else KeyboardInterrupt())

    @bindings.add(Keys.Vt100MouseEvent)
    def _(event: KeyPressEvent) -> None:
        """None was asked for: it is typed, or pasted, and the editor's own would take any colour's code for one."""

    return bindings
