"""`python -m swarm chat` in a terminal of its own, and with pipes, on real servers."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

import swarm
import warm
from swarm.model.checkpoint import demo_file

READY = "\x1b[?2004h"  # the editor waits for input: pasted text is to come in brackets
SENT = "\x1b[?2004l"
PATIENCE_S = 120.0


class Terminal:
    """A chat, and the terminal that it runs in."""

    def __init__(self, peers, home: Path, *arguments: str):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.terminal, self.shown, self._seen = ours, "", 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "swarm", "chat", "--peers", *peers, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # else Ctrl-C is a byte like any other
            env={**os.environ, "SWARM_HOME": str(home), "TERM": "xterm"},
        )
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        self.wait(READY)
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def wait(self, text: str) -> str:
        """Until it is shown: what was shown since the last one that was waited for."""
        return self._until(lambda new: text in new, text)

    def wait_for_text(self, length: int) -> None:
        """Of an answer that is under way."""
        self._until(lambda new: len(new) >= length, f"{length} characters")

    def say(self, text: str) -> None:
        self.type(f"{text}\r")
        self.wait(SENT)

    def ask(self, text: str) -> str:
        """What is shown until the next prompt."""
        self.say(text)
        return self.wait(READY)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def end(self) -> int:
        """The exit status."""
        with suppress(OSError):  # the terminal is closed
            while self._read():
                pass
        return self.process.wait(PATIENCE_S)

    def _until(self, is_there, what: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not is_there(new := self.shown[self._seen :]):
            assert time.monotonic() < deadline, f"no {what!r} in {new!r}"
            self._read()
        end = new.index(what) + len(what) if what in new else len(new)
        self._seen += end
        return new[:end]

    def _read(self) -> bool:
        data = os.read(self.terminal, 65_536)
        self.shown += data.decode(errors="replace")
        return bool(data)


@pytest.fixture(scope="module")
def local():
    with swarm.LocalSwarm("demo", ["0:30"], quant="int4", threads=1, drain=0) as local:
        yield local


def test_a_conversation_in_a_terminal(local, tmp_path):
    with Terminal(local.peers, tmp_path, "--max-new-tokens", "40", "--temperature", "0") as chat:
        assert "answers up to 40; sampling: greedy (as asked for)" in chat.shown
        chat.say("Tell a long story about a fox.")
        assert "stopped after 40 tokens" in chat.wait(READY)
        chat.say("/continue")
        chat.wait_for_text(10)
        chat.type("\x03")
        assert "(stopped: /continue goes on with it" in chat.wait(READY)
        assert "no command /nonsense" in chat.ask("/nonsense")
        assert "tokens/s" in chat.ask("/stats")
        chat.type("\x1b[200~two\nlines\x1b[201~\\\r")
        chat.say("and a third")
        chat.wait(READY)
        assert "messages saved in" in chat.ask(f"/save {tmp_path}/talk.json")
        chat.type("a colour\x1b[31m\x12col\x03 is discarded\x03")  # Ctrl-R begins a search, Ctrl-C ends that first
        chat.wait(READY)
        chat.type("\x03")
        assert "Ctrl-C again" in chat.wait(READY)
        chat.type("\x03")
        assert chat.end() == 0
    history = tmp_path / "chat_history"
    assert history.stat().st_mode & 0o777 == 0o600
    typed = [json.loads(line) for line in history.read_text().splitlines()]
    assert typed[1:] == ["/continue", "/nonsense", "/stats", "two\nlines\nand a third", f"/save {tmp_path}/talk.json"]


def test_what_was_saved_goes_on_and_what_was_typed_is_there_again(local, tmp_path):
    file = tmp_path / "talk.json"
    with Terminal(local.peers, tmp_path, "--max-new-tokens", "2", "--system", "Be brief.") as chat:
        chat.ask("Name a colour.")
        chat.ask(f"/save {file}")
        chat.type("\x04")
        assert chat.end() == 0
    saved = json.loads(file.read_text())["messages"]
    assert [message["role"] for message in saved] == ["system", "user", "assistant"]
    assert saved[2]["stopped"] == "length"
    with Terminal(local.peers, tmp_path, "--max-new-tokens", "8", "--load", str(file)) as chat:
        assert "going on after 2 messages" in chat.shown
        assert "sampling: temperature 0.7, top_p 0.9 (the model does not say how)" in chat.shown
        chat.type("\x1b[A\x1b[A")  # up, up: past the last command
        chat.type(" And another.")
        chat.ask("")
        assert f"(4 messages saved in {file})" in chat.ask(f"/save {file}")
        chat.ask("/clear")
        assert "Be brief." in chat.ask("/system")
    assert json.loads(file.read_text())["messages"][3]["content"] == "Name a colour. And another."


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_it_leaves_the_terminal_as_it_was(local, tmp_path, number):
    with Terminal(local.peers, tmp_path) as chat:
        chat.process.send_signal(number)
        assert chat.end() == 128 + number
        assert chat.shown.rindex(SENT) > chat.shown.rindex(READY)
        assert chat.shown.rindex("\x1b[?25h") > chat.shown.rindex("\x1b[?25l")  # the cursor
        assert termios.tcgetattr(chat.terminal)[3] & termios.ECHO
        assert "Traceback" not in chat.shown


def test_a_conversation_survives_the_swarm(tmp_path):
    with (
        swarm.LocalSwarm("demo", ["0:30"], quant="int4", threads=1) as local,
        Terminal(local.peers, tmp_path, "--wait", "2", "--temperature", "0") as chat,
    ):
        chat.say("Tell a long story about a fox.")
        chat.wait_for_text(60)
        local.servers[0].kill()
        failed = chat.wait(READY)
        assert "/continue goes on with it, /retry begins it anew" in failed
        assert "WARN" not in failed or re.search(r"\n[\d:]{8} WARN", failed)  # on a line of its own
        assert "(the answer that was there stays)" in chat.ask("/retry")
        again = chat.ask("What is its name?")
        assert "error: " in again and "/retry tries it again" in again and "Traceback" not in again
        local.start("0:30", quant="int4")
        assert "error" not in chat.ask("/retry")
        chat.ask(f"/save {tmp_path}/talk.json")
    turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert turns[1]["stopped"] == "failed" and len(turns[1]["content"]) > 30
    assert turns[2]["content"] == "What is its name?" and turns[3]["content"]


def test_an_answer_goes_on_when_a_peer_dies_in_the_middle(tmp_path):
    with (
        swarm.LocalSwarm("demo", ["0:15", "15:30", "15:30"], quant="int4", threads=1) as local,
        Terminal(local.peers, tmp_path, "--temperature", "0", "--max-new-tokens", "200") as chat,
    ):
        chat.ask("Hello.")
        route = chat.ask("/stats")
        used = next(server for server in local.servers[1:] if f":{server.port})" in route)
        chat.say("Tell a long story about a fox.")
        chat.wait_for_text(60)
        used.kill()
        assert "error" not in chat.wait(READY)


def talk(peers, lines: bytes, *arguments: str) -> subprocess.CompletedProcess:
    read, write = os.pipe()
    os.write(write, lines)
    os.close(write)
    with open(read) as stdin:
        process = warm.start(
            [sys.executable, "-m", "swarm", "chat", "--peers", *peers, *arguments], stdin=stdin, stdout=-1, stderr=-1
        )
        output, errors = process.communicate(PATIENCE_S)
    return subprocess.CompletedProcess([], process.returncode, output, errors)


def test_a_script_talks_through_pipes(local, tmp_path):
    lines = f"Name a colour.\nAnother \\\none.\n/save {tmp_path}/talk.json\n"
    done = talk(local.peers, lines.encode(), "--temperature", "0", "--max-new-tokens", "8")
    assert done.returncode == 0, done.stderr
    turns = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert turns[2]["content"] == "Another \none."
    assert done.stdout == "".join(f"{turn['content']}\n" for turn in turns[1::2])
    assert ">" not in done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("lines", [b"caf\xe9\n", b"/nothing\n", b"word " * 9000])
def test_what_a_script_says_wrong_is_one_line_and_a_status(local, lines):
    done = talk(local.peers, lines, "--max-new-tokens", "4")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_no_lines_are_no_error(local):
    assert talk(local.peers, b"").returncode == 0


def test_a_full_context_is_told_and_the_talk_goes_on(local):
    done = talk(
        local.peers, b"word " * 40 + b"\n" + b"talk " * 40 + b"\n", "--max-new-tokens", "16", "--context", "120"
    )
    assert done.returncode == 0, done.stderr
    assert "the context of 120 tokens is full: the model does not see the first 2 messages" in done.stderr


def test_a_model_without_a_chat_template_says_so_at_once(tmp_path):
    file = tmp_path / "plain.gguf"
    file.write_bytes(demo_file().read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_nonsense"))
    with swarm.LocalSwarm(str(file), ["0:30"], quant="int4", threads=1) as local:
        done = talk(local.peers, b"Hello\n", "--model", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no chat template" in done.stderr and done.stderr.count("\n") == 1
