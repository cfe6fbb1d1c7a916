"""How a program is told to end, and that it does end: one way for all that run for long.

SIGINT, SIGTERM and SIGHUP all say it, and so does the end of its parent, where it is to go with that. Told once, a
program finishes in good order, within a limit of seconds; told a second time, or past the limit, it is gone at once.
All of that is attended to by a thread, which no computation, library or disk holds up. Imports nothing heavy: it is to
be there before what is.

Exit status: 0 where running until it is told is what the program is for, and it ended in good order; else 128 and the
signal's number.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from swarm.cli.support import streams
from swarm.cli.support.exits import UNREAD
from swarm.errors import SwarmError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LEAVE_S = 5.0  # to be gone in, beyond the time given to others' work
EXIT_S = 3.0  # for what is left once everything is done: threads may still wait for a disk or a ledger
EXIT_WITH_PARENT = "--exit-with-parent"
_ECHO_S = 0.3  # the same signal may come twice: from the terminal, and from a launcher that passes it on
_HANG_UP_ECHO_S = 1.0  # a shell whose terminal was closed passes that on, sometime
_PARENT_ENDED, _LOOK = 128, 129  # what is heard beside signals


class Shutdown:
    """Of one process. What is not `listen`ing leaves Python's own way with signals as it is."""

    def __init__(self) -> None:
        self._listens, self._watches_parent = False, False
        self._ear, self._mouth = -1, -1  # a pipe: numbers of signals, and what is said here
        self._tell: Callable[[], object] | None = None  # None: there is nothing to finish
        self._interrupts = False  # the main thread, by KeyboardInterrupt
        self._limit_s, self._deadline_s = LEAVE_S, float("inf")  # the latter as time.monotonic()
        self._told_by, self._told_s = 0, 0.0
        self._interrupted_by = 0
        self._heed: Callable[[], object] | None = None  # what SIGINT does, where it does not end the program
        self._status: int | None = None  # once everything is done
        self._terminals: list[int] = []  # that are written to

    def listen(self, arguments: Sequence[str] = ()) -> None:
        """From now on. Until there is something to finish, see `finishes` and `interruptible`, the process ends at once
        when it is told to. arguments: of the command line."""
        if self._listens:
            return
        streams.complete()
        self._terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        self._listens = True
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored: see nohup
                signal.signal(number, self._handle)
        self.hear_signals()
        threading.Thread(target=self._attend, name="shutdown", daemon=True).start()
        if EXIT_WITH_PARENT in arguments:
            self.watch_parent()

    def hear_signals(self) -> None:
        """Again: an event loop in the main thread has signals reported to itself when it starts."""
        if self._listens:
            signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)

    def watch_parent(self) -> None:
        """The end of standard input is the end of the parent."""
        if self._listens and not self._watches_parent:
            self._watches_parent = True
            threading.Thread(target=self._await_parent, name="parent", daemon=True).start()

    # --- what there is to finish -------------------------------------------------------------------------------------

    @contextmanager
    def finishes(self, tell: Callable[[], object], drain_s: float = 0.0) -> Iterator[None]:
        """Told to end, `tell` is called, in another thread, and everything is to be done within LEAVE_S and `drain_s`,
        the time that others' work is given."""
        before = self._tell, self._limit_s, self._interrupts
        self._tell, self._limit_s, self._interrupts = tell, LEAVE_S + drain_s, False
        try:
            yield
        finally:
            if not self._told_by:
                self._tell, self._limit_s, self._interrupts = before

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Told to end, the main thread gets a KeyboardInterrupt, and has LEAVE_S."""
        with self.finishes(lambda: None):
            self._interrupts = True
            yield

    @contextmanager
    def keeps_interrupts(self, heed: Callable[[], object]) -> Iterator[None]:
        """Within, SIGINT (Ctrl-C) does not end the program: `heed` is called, in the main thread, and may raise."""
        self._heed = heed
        try:
            yield
        finally:
            self._heed = None

    @property
    def is_told(self) -> bool:
        """Whether it is to end."""
        return bool(self._told_by or self._interrupted_by)

    @property
    def status(self) -> int:
        """The exit status of a program that was cut short."""
        unsaid = signal.SIGHUP if self.is_hung_up() else signal.SIGINT
        return 128 + (self._told_by or self._interrupted_by or unsaid)

    def is_hung_up(self) -> bool:
        """Whether a terminal that is written to was closed: one may be told so a moment after it cannot be written."""
        return not all(map(os.isatty, self._terminals))

    def done(self, status: int) -> int:
        """Everything is finished, and the process is to be gone soon with this status, which is returned."""
        self._interrupts, self._status = False, status
        if self._listens:
            self._deadline_s = min(self._deadline_s, time.monotonic() + EXIT_S)
            self._say(_LOOK)
        return status

    def leave(self, status: int) -> NoReturn:
        """The end of a program whose work is done. The interpreter's own way out takes a second of a processor, waits
        for threads, and cannot be cut short once it has begun."""
        self.done(status)
        try:
            streams.flush()
        except BrokenPipeError:
            self._status = status = status or UNREAD
        except SwarmError as error:
            _say_last(f"error: {error}")
            self._status = status = status or (self.status if self.is_hung_up() else 1)
        atexit._run_exitfuncs()
        os._exit(status)

    def exit_now(self) -> NoReturn:
        """For a program that was told to end, and has nothing to finish."""
        os._exit(self.status)

    # --- what attends to it ------------------------------------------------------------------------------------------

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, where Python calls it; the other one hears of it in any case."""
        if self._keeps(number):
            assert self._heed
            self._heed()
            return
        if self._interrupts:
            self._interrupts, self._interrupted_by = False, number
            raise KeyboardInterrupt

    def _keeps(self, number: int) -> bool:
        return number == signal.SIGINT and self._heed is not None and not self.is_told

    def _say(self, number: int) -> None:
        os.write(self._mouth, bytes([number]))

    def _await_parent(self) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass  # a terminal that is gone
        self._say(_PARENT_ENDED)

    def _attend(self) -> None:
        while True:
            left_s = self._deadline_s - time.monotonic()
            timeout_s = None if left_s == float("inf") else max(left_s, 0.0)
            if select.select([self._ear], [], [], timeout_s)[0]:
                for number in os.read(self._ear, 64):
                    with suppress(Exception):  # of what it tells: this thread is the last that can end the process
                        self._hear(number)
            elif self._status is not None:
                os._exit(self._status)
            else:
                _say_last(f"error: not everything was finished within {self._limit_s:.0f} s of being told to end")
                os._exit(self.status)

    def _hear(self, number: int) -> None:
        now_s = time.monotonic()
        if number == _LOOK or self._keeps(number):
            return
        if self._told_by:
            if number in SIGNALS and not self._is_echo(number, now_s - self._told_s):
                os._exit(128 + number)
            return
        if number not in (*SIGNALS, _PARENT_ENDED):
            return
        self._told_by = signal.SIGHUP if number == _PARENT_ENDED else number
        self._told_s = now_s
        if self._status is not None:
            os._exit(self._status)
        if self._tell is None:
            self.exit_now()
        self._deadline_s = min(self._deadline_s, now_s + self._limit_s)
        self._let_go_of_terminals()
        self._tell()

    def _let_go_of_terminals(self) -> None:
        """Of those that were closed: to write there would be an error, in the middle of a goodbye."""
        for descriptor in self._terminals:
            if not os.isatty(descriptor):
                with suppress(OSError):  # no handle is left
                    streams.discard(descriptor)

    def _is_echo(self, number: int, after_s: float) -> bool:
        hung_up = number == self._told_by == signal.SIGHUP
        return after_s < (_HANG_UP_ECHO_S if hung_up else _ECHO_S)


SHUTDOWN = Shutdown()  # this process's


def _say_last(line: str) -> None:
    """On standard error, if that takes it."""
    with suppress(OSError):
        streams.write_in_time(sys.stderr, f"{line}\n", 0.0)
