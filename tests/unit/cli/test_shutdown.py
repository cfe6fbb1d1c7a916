"""How programs are told to end: small ones here, which do nothing else."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from swarm.cli.support.shutdown import Shutdown

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
BEGIN = """
    import ctypes, os, signal, sys, threading, time
    from swarm.cli.support import shutdown
    from swarm.cli.support.shutdown import SHUTDOWN
    SHUTDOWN.listen(sys.argv)
    def say(text):
        print(text, flush=True)
    def for_ever():
        lock = ctypes.create_string_buffer(64)
        for _ in range(2):  # in C: Python's own handlers of signals wait for its end
            ctypes.CDLL(None).pthread_mutex_lock(lock)
"""
SERVICE = """
    told = threading.Event()
    with SHUTDOWN.finishes(lambda: (say("told"), told.set())):
        say("ready")
        told.wait()
        {}
    sys.exit(SHUTDOWN.done(0))
"""


class Program:
    """What begins with BEGIN, until it says that it is ready."""

    def __init__(self, body: str, *arguments: str, **options: object):
        script = textwrap.dedent(BEGIN) + textwrap.dedent(body)
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen([sys.executable, "-c", script, *arguments], text=True, **options)

    def __enter__(self) -> "Program":
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def tell(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[int, list[str], list[str]]:
        """Its status, what it said, and what it complained of."""
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output.splitlines(), errors.splitlines()


@pytest.mark.parametrize("number", STATUS)
def test_who_has_nothing_to_finish_is_gone_at_once_whatever_it_is_doing(number):
    with Program('say("ready"); for_ever()') as program:
        program.tell(number)
        assert program.ended() == (STATUS[number], [], [])


@pytest.mark.parametrize("number", STATUS)
def test_who_has_something_to_finish_does_and_ends_in_good_order(number):
    with Program(SERVICE.format('say("finished")')) as program:
        program.tell(number)
        assert program.ended() == (0, ["told", "finished"], [])


def test_a_second_signal_ends_it_at_once():
    with Program(SERVICE.format("for_ever()")) as program:
        program.tell(signal.SIGTERM)
        assert program.process.stdout.readline() == "told\n"
        time.sleep(0.5)  # else it could be the same one again
        program.tell(signal.SIGINT)
        assert program.ended() == (130, [], [])


def test_a_signal_that_a_launcher_passes_on_is_not_a_second_one():
    with Program(SERVICE.format('time.sleep(0.2); say("finished")')) as program:
        for _ in range(3):
            program.tell(signal.SIGINT)
        assert program.ended() == (0, ["told", "finished"], [])


def test_who_does_not_finish_in_time_is_ended_with_one_line():
    with Program("    shutdown.LEAVE_S = 0.3\n" + SERVICE.format("for_ever()")) as program:
        program.tell(signal.SIGTERM)
        status, _, errors = program.ended()
        assert status == 143
        assert errors == ["error: not everything was finished within 0 s of being told to end"]


def test_a_thread_that_waits_for_something_does_not_hold_up_the_end():
    body = """
        shutdown.EXIT_S = 0.2
        threading.Thread(target=for_ever).start()
        say("ready")
        sys.exit(SHUTDOWN.done(7))
    """
    with Program(body) as program:
        assert program.ended() == (7, [], [])


COMMAND = """
    try:
        with SHUTDOWN.interruptible():
            say("ready")
            time.sleep(1000)
    except KeyboardInterrupt:
        say("tidied up")
        sys.exit(SHUTDOWN.done(SHUTDOWN.status))
"""


@pytest.mark.parametrize("number", STATUS)
def test_a_command_is_interrupted_and_its_status_says_by_what(number):
    with Program(COMMAND) as program:
        program.tell(number)
        assert program.ended() == (STATUS[number], ["tidied up"], [])


def test_a_command_that_does_not_come_back_is_ended_all_the_same():
    with Program("    shutdown.LEAVE_S = 0.3\n" + COMMAND.replace("time.sleep(1000)", "for_ever()")) as program:
        program.tell(signal.SIGTERM)
        assert program.ended()[0] == 143


def test_the_end_of_the_parent_is_as_a_signal():
    with Program(SERVICE.format('say("finished")'), "--exit-with-parent") as program:
        program.process.stdin.close()
        program.process.stdin = None
        assert program.ended() == (0, ["told", "finished"], [])
    with Program('say("ready"); for_ever()', "--exit-with-parent") as program:
        program.process.stdin.close()
        program.process.stdin = None
        assert program.ended() == (129, [], [])


def test_without_being_asked_it_does_not_end_with_its_input():
    with Program(SERVICE.format('say("finished")')) as program:
        program.process.stdin.close()
        program.process.stdin = None
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(0.5)
        program.tell(signal.SIGTERM)
        assert program.ended()[0] == 0


def test_who_was_told_to_ignore_the_terminals_end_does():
    """As with nohup."""
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with Program(SERVICE.format('say("finished")'), **ignoring) as program:
        program.tell(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(0.5)
        program.tell(signal.SIGTERM)
        assert program.ended()[0] == 0


def test_a_closed_terminal_can_be_written_to_until_the_end(tmp_path):
    """Else the goodbye would end in the middle, with an error that nobody sees."""
    body = SERVICE.format(f'say("finished"); open({str(tmp_path / "finished")!r}, "w").close()')
    ours, its = pty.openpty()
    script = textwrap.dedent(BEGIN) + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=its, stdout=its, stderr=its, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # whose terminal it is from now on
    )  # fmt: skip
    os.close(its)
    with open(ours, "rb", buffering=0) as terminal:
        assert terminal.readline() == b"ready\r\n"
    assert process.wait(60) == 0
    assert (tmp_path / "finished").exists()


def test_what_does_not_listen_keeps_pythons_own_ways():
    """A library must not take signals from the program that uses it."""

    before = {number: signal.getsignal(number) for number in STATUS}
    shutdown = Shutdown()
    with shutdown.interruptible():
        pass
    assert shutdown.done(3) == 3
    assert {number: signal.getsignal(number) for number in STATUS} == before
