"""What a full disk, or a terminal that is gone, does to commands: one line, and nothing that was there is lost."""

import errno
import os
import pty
import subprocess
import sys
import textwrap

import pytest

from disks import small_files
from swarm.cli.chat.answering import Answering, Limits
from swarm.cli.chat.chat import Chat
from swarm.cli.chat.commands import Commands
from swarm.cli.chat.conversation import Conversation, load
from swarm.cli.chat.interrupts import Interrupts
from swarm.cli.settings import config
from swarm.cli.support import exits
from swarm.cli.support.parser import Parser
from swarm.cli.support.streamed import Streamed
from swarm.cli.support.terminal import run


class Lines:
    def __init__(self, *lines):
        self._lines = list(lines)

    def read(self):
        return self._lines.pop(0) if self._lines else None


def test_a_chat_goes_on_when_it_cannot_be_saved(tmp_path, capsys):
    conversation, shown, interrupts = Conversation(), Streamed(), Interrupts()
    conversation.ask("x" * 5000)
    answering = Answering(None, {}, Limits(8, 20), interrupts, shown)
    commands = Commands(conversation, answering, shown, "demo", None)
    full, there = tmp_path / "full.json", tmp_path / "there.json"
    with small_files(1000):
        assert not Chat(Lines(f"/save {full}"), conversation, answering, commands, interrupts, shown).run()
    assert capsys.readouterr().err == f"error: {full} cannot be used: File too large\n"
    assert Chat(Lines(f"/save {there}"), conversation, answering, commands, interrupts, shown).run()
    assert load(there) == conversation and list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ESTALE, errno.ELOOP])
def test_whatever_is_wrong_with_a_file_is_one_line(number, capsys):
    def fail(args):
        raise OSError(number, os.strerror(number), "the file")

    assert run(Parser("status", has_settings=False), [], fail) == exits.FAILED
    assert capsys.readouterr() == ("", f"error: the file cannot be used: {os.strerror(number)}\n")


def test_settings_that_did_not_fit_can_be_written_once_there_is_room(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    with small_files(100):
        assert config.main(["--init"]) == exits.FAILED
    assert "File too large" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert config.main(["--init"]) == exits.DONE


BEGIN = """
    import os, sys
    from swarm.cli.support.parser import Parser
    from swarm.cli.support.shutdown import SHUTDOWN
    from swarm.cli.support.terminal import run
    from swarm.errors import SwarmError
    SHUTDOWN.listen()
    def wait(args):
        print("ready", flush=True)
        sys.stdin.read()  # until the terminal is closed
        {}
    SHUTDOWN.leave(run(Parser("status", has_settings=False), [], wait))
"""


@pytest.mark.parametrize("body", [
    'print("more", flush=True)', 'print("more")', 'print("more", file=sys.stderr)', 'raise SwarmError("it failed")',
    "raise KeyboardInterrupt", "raise BrokenPipeError(32, os.strerror(32))",
])  # fmt: skip
def test_a_terminal_that_was_closed_is_a_hangup_though_no_signal_said_so(body):
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BEGIN).format(body)], stdin=subprocess.PIPE, stdout=its, stderr=its
    )
    os.close(its)
    with open(ours, "rb", buffering=0) as terminal:
        assert terminal.readline() == b"ready\r\n"
    process.communicate(timeout=60)
    assert process.returncode == 129
