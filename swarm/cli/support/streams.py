"""Standard input, output and error of a program that goes on for long: closed, full, or read by nobody. Imports nothing
heavy: it is needed before what is."""

import os
import select
import sys
import time
from contextlib import suppress
from typing import TextIO

from swarm.errors import SwarmError

STANDARD = 0, 1, 2


def complete() -> None:
    """Where one of the three was closed, what is written there goes nowhere. Else the next file that is opened would
    have its number, and be taken for it."""
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            discard(descriptor)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def discard(descriptor: int) -> None:
    """Whatever is written there from now on: nobody reads it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def write_in_time(stream: TextIO, text: str, wait_s: float) -> bool:
    """Whether all of `text` was taken. A pipe that is full, or a terminal that is held, would stop the program for as
    long as nobody reads. Raises OSError if it cannot be written at all."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a file
        stream.write(text)
        return True
    left, deadline_s = memoryview(text.encode(errors="backslashreplace")), time.monotonic() + wait_s
    while left:
        if not select.select([], [descriptor], [], max(deadline_s - time.monotonic(), 0.0))[1]:
            return False
        left = left[os.write(descriptor, left[: select.PIPE_BUF]) :]
    return True


def flush() -> None:
    """What was printed. Raises SwarmError if standard output did not take it, BrokenPipeError if nobody reads it any
    more."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SwarmError(f"standard output cannot be written: {error.strerror}") from error
    except ValueError:  # the program has closed it itself
        pass
