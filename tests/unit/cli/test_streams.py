"""Standard streams that are closed, full, or read by nobody."""

import logging
import os
import subprocess
import sys

import pytest

from swarm.cli.support import logs
from swarm.cli.support.streams import write_in_time

SECRET = f"{sys.executable} -m swarm secret"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=90, check=False, env=plain | environment
    )


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_what_a_full_disk_did_not_take_is_an_error(environment):
    result = shell(f"{SECRET} > /dev/full", **environment)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and result.stderr.endswith("No space left on device\n")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_is_as_good_as_one_that_nobody_reads(closed):
    result = shell(f"{SECRET} {closed}")
    assert (result.returncode, result.stderr) == (0, "")
    assert bool(result.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_a_log_that_nobody_reads_holds_nothing_up_and_says_what_is_missing(monkeypatch):
    reader, writer = os.pipe()
    with open(reader) as read, open(writer, "w") as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        while write_in_time(unread, "x" * 4096, 0.0):
            pass
        handler = logs._StandardError()
        for number in range(3):
            handler.emit(logging.LogRecord("swarm", logging.WARNING, "file", 1, "said %d", (number,), None))
        os.set_blocking(reader, False)
        read.read()
        handler.emit(logging.LogRecord("swarm", logging.WARNING, "file", 1, "said last", (), None))
        assert read.read() == "3 lines were lost here: nobody read them\nsaid last\n"
