"""What a process logs: on standard error, with times, and the same thing not again and again. Imports nothing heavy.

Text is for people; on a terminal, which scrolls by, a line has the time of day, elsewhere the date and the offset from
UTC as well. JSON is for collectors of logs: one object a line. What the program was asked for goes to standard output
(see events), whatever the format.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from swarm.cli.support.streams import write_in_time
from swarm.errors import InvalidRequest

AGAIN_S = 60.0  # before what was said is said again
MOST_REMEMBERED = 256
FORMATS = TEXT, JSON = "text", "json"
FORMAT_VARIABLE = "SWARM_LOG_FORMAT"
_OURS = "swarm", "swarm_kernels"  # of other packages' logs, warnings are enough even for those who want to know more
_ALWAYS = ("swarm_kernels.cpu.build",)  # it takes long, and a new user wonders at what
_TO_FILES = ("swarm.server.loading",)  # on a terminal, a bar shows it, and scripts that read events do not care
_LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARNING", logging.ERROR: "ERROR"}
_OF_ALL = frozenset(vars(logging.makeLogRecord({})))  # what every record has; the rest, a logger's caller has added


class Seldom(logging.Filter):
    """Lets a message pass once in AGAIN_S, and says then how often it was held back. What goes on failing (memory,
    threads, a disk) would else fill the log, and hide what else there is. Errors with a traceback are the same where
    they come from the same place, whatever their figures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._clock = clock
        self._said: dict[object, tuple[float, int]] = {}  # when it passed, and how often it was held back since

    def forget(self) -> None:
        """What was said may be said again: to somebody who has asked anew."""
        self._said.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        key = record.name, record.levelno, record.msg if record.exc_info else record.getMessage()
        now_s = self._clock()
        passed_s, held_back = self._said.pop(key, (float("-inf"), 0))
        if now_s - passed_s < AGAIN_S:
            self._said[key] = passed_s, held_back + 1
            return False
        if held_back:
            record.msg, record.args = f"{record.getMessage()} (and {held_back} times more since)", ()
        self._said[key] = now_s, 0
        while len(self._said) > MOST_REMEMBERED:
            self._said.pop(next(iter(self._said)))
        return True


class TextLines(logging.Formatter):
    """`2026-01-31T08:00:00.123+01:00 WARNING what happened`; short: `08:00:00 WARNING what happened`."""

    def __init__(self, short: bool):
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._short = short

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = level_of(record)
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        when = local_time(record)
        return f"{when:%H:%M:%S}" if self._short else when.isoformat(timespec="milliseconds")


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": "WARNING", "logger": "swarm...", "message": ...}`, and what the logger's caller has added
    (`extra`), such as session and peer; `exception`: a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": local_time(record).isoformat(timespec="milliseconds"),
            "level": level_of(record),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: value for name, value in vars(record).items() if name not in _OF_ALL and name not in told}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def local_time(record: logging.LogRecord) -> datetime:
    """With its offset from UTC."""
    return datetime.fromtimestamp(record.created).astimezone()


def level_of(record: logging.LogRecord) -> str:
    """Libraries change the names that logging has."""
    return _LEVELS.get(record.levelno, record.levelname)


class _StandardError(logging.Handler):
    """Which is not waited for: what is lost while nobody reads is counted."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{self.format(record)}\n"
        if self._lost:
            text = f"{self.format(_loss(self._lost))}\n{text}"
        try:
            is_taken = write_in_time(sys.stderr, text, 0.0)
        except (OSError, ValueError):
            return
        self._lost = 0 if is_taken else self._lost + 1


def _loss(lines: int) -> logging.LogRecord:
    message = f"{lines} lines were lost here: nobody read them"
    return logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "msg": message, "lost": lines})


def add_options(parser: argparse._ActionsContainer) -> None:
    """--verbose and --log-format."""
    add = parser.add_argument
    add("--verbose", "-v", action="store_true", help="log what happens")
    add("--log-format", choices=FORMATS, metavar="FORMAT", help=f"{TEXT} or {JSON} (default: {FORMAT_VARIABLE})")


def set_up() -> None:
    """For a program: warnings, until `follow` knows better. Where somebody has set up logging already, that stays."""
    if logging.root.handlers:
        return
    handler = _StandardError()
    handler.addFilter(Seldom())
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what fails there, is told by an error
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    _write(handler, JSON if os.environ.get(FORMAT_VARIABLE) == JSON else TEXT)
    _tell(_ALWAYS)


def follow(args: argparse.Namespace) -> None:
    """What the command line says of it, where it can. Raises InvalidRequest for what the environment says."""
    format_ = getattr(args, "log_format", None) or os.environ.get(FORMAT_VARIABLE) or TEXT
    if format_ not in FORMATS:
        raise InvalidRequest(f"{FORMAT_VARIABLE} is {' or '.join(FORMATS)}, not {format_!r:.40}")
    handlers = [handler for handler in logging.root.handlers if isinstance(handler, _StandardError)]
    for handler in handlers:
        _write(handler, format_)
    if not handlers:
        return
    if getattr(args, "verbose", False):
        _tell(_OURS)
    if not getattr(args, "json", False) and not _is_terminal():
        _tell(_TO_FILES)


def _tell(names: Iterable[str]) -> None:
    for name in names:
        logging.getLogger(name).setLevel(logging.INFO)


def _write(handler: _StandardError, format_: str) -> None:
    handler.setFormatter(JsonLines() if format_ == JSON else TextLines(short=_is_terminal()))
    logging.captureWarnings(format_ == JSON)  # Python's own


def _is_terminal() -> bool:
    return sys.stderr.isatty()
