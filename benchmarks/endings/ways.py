"""The ways in which a process is told to end, or is hurt while it is."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from endings.processes import Program, TypedProgram, kill


@dataclass(frozen=True)
class Way:
    name: str
    tell: Callable[[Program], None]
    is_typed: bool = False  # takes a real terminal
    status: int = 0  # of a server that ends in good order


def _group(program: Program) -> None:
    os.killpg(os.getpgid(program.pid), signal.SIGTERM)


def _ctrl_c(program: Program) -> None:
    assert isinstance(program, TypedProgram)
    program.type("C-c")


def _close(program: Program) -> None:
    assert isinstance(program, TypedProgram)
    program.close_terminal()


def _told_and_hurt(first_s: float, last_s: float) -> Callable[[Program], None]:
    """SIGTERM, and the death of its daemon so much later; before it, where that is negative."""

    def tell(program: Program) -> None:
        later_s = random.uniform(first_s, last_s)
        daemons = program.daemons()
        if later_s < 0:
            _kill(daemons)
            time.sleep(-later_s)
        os.kill(program.pid, signal.SIGTERM)
        if later_s >= 0:
            time.sleep(later_s)
            _kill(daemons)

    return tell


def _kill(pids: list[int]) -> None:
    for pid in pids:
        kill(pid)


WAYS = (
    Way("SIGTERM", lambda program: os.kill(program.pid, signal.SIGTERM)),
    Way("SIGTERM to its group", _group),
    Way("Ctrl-C in a terminal", _ctrl_c, is_typed=True),
    Way("terminal closed", _close, is_typed=True),
    Way("daemon killed, then SIGTERM", _told_and_hurt(-1.0, -0.01)),
    Way("daemon killed during the end", _told_and_hurt(0.0, 0.15)),
    Way("daemon killed late in the end", _told_and_hurt(0.15, 0.6)),
)
