"""Which test runs which line, and how long each takes. A pytest plugin: `-p mutation.lines`, with SWARM_LINES set.

What tests do in their own process is recorded for each test; what their servers do, for the file of the test that
started them (see `record_in_server`).
"""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import coverage
import pytest

FOLDER = "SWARM_LINES"  # the environment's name for where it is kept
_SAVED_EVERY_S = 0.5


def recorder(folder: str) -> coverage.Coverage:
    return coverage.Coverage(
        data_file=f"{folder}/lines",
        data_suffix=True,
        source=["swarm", "swarm_kernels"],
        config_file=False,
        messages=False,
    )


class Recorder:
    """In pytest's process, or in each of its workers."""

    def __init__(self, folder: str):
        self._folder, self._coverage = folder, recorder(folder)
        self._durations: dict[str, float] = {}
        self._coverage.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        self._coverage.switch_context(item.nodeid)
        began = time.monotonic()
        yield
        self._durations[item.nodeid] = time.monotonic() - began
        self._coverage.switch_context("")

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()
        Path(self._folder, f"durations-{os.getpid()}.json").write_text(json.dumps(self._durations))


def pytest_configure(config: pytest.Config) -> None:
    if folder := os.environ.get(FOLDER):
        config.pluginmanager.register(Recorder(folder), "lines")


def record_in_server() -> None:
    """Record this process, for the test that started it. It may be killed at any time, so it is saved often."""
    measured = recorder(os.environ[FOLDER])
    measured.start()
    measured.switch_context(f"server {os.environ.get('PYTEST_CURRENT_TEST', '').split('::')[0]}")

    def save() -> None:
        while True:
            time.sleep(_SAVED_EVERY_S)
            measured.save()

    threading.Thread(target=save, daemon=True).start()


def collected(folder: Path, root: Path) -> tuple[dict[str, dict[int, list[str]]], dict[str, float]]:
    """(contexts by line by file, seconds by test): a context is a test, or the file of one whose servers ran it."""
    lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in folder.glob("lines.*"):
        data = coverage.CoverageData(str(path))
        try:
            data.read()
            for file in data.measured_files():
                if Path(file).is_relative_to(root):
                    _add(lines[str(Path(file).relative_to(root))], data.contexts_by_lineno(file))
        except coverage.CoverageException:
            continue  # its process was killed while it was written
    durations: dict[str, float] = {}
    for path in folder.glob("durations-*.json"):
        durations |= json.loads(path.read_text())
    return {file: {line: sorted(of) for line, of in by_line.items()} for file, by_line in lines.items()}, durations


def _add(by_line: dict[int, set[str]], contexts: dict[int, Iterable[str]]) -> None:
    for line, names in contexts.items():
        if here := {name for name in names if name}:  # nothing, while modules are imported
            by_line[line] |= here
