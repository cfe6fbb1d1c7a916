"""A mutated copy of the tree, and the tests run on it: those that run the line first, at the first failure no more."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mutation.mutants import Mutation

FAST = ("tests/unit", "tests/kernels", "tests/ledger")
MOST_NEAREST = 60  # tests that are tried first
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """caught: by which test, or "" if by none."""

    caught: str
    stage: str
    seconds: float


class Tree(AbstractContextManager):
    """A copy of what git knows of, and of what it does not ignore."""

    def __init__(self, root: Path):
        self._root, self._folder = root, Path(tempfile.mkdtemp(prefix="mutants-"))
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (root / name).is_file():
                (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, self._folder / name)

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def try_(self, mutation: Mutation, stages: Iterable[tuple[str, Sequence[str]]], limit_s: float) -> Outcome:
        """Whether tests notice, stage after stage: (name, what pytest is to run)."""
        file, began = self._folder / mutation.file, time.monotonic()
        source, stage = file.read_bytes(), "none"
        file.write_bytes(mutation.apply(source))
        try:
            for stage, tests in stages:
                left_s = limit_s - (time.monotonic() - began)
                if tests and (caught := self._fails(tests, left_s)):
                    return Outcome(caught, stage, time.monotonic() - began)
            return Outcome("", stage, time.monotonic() - began)
        finally:
            file.write_bytes(source)

    def _fails(self, tests: Sequence[str], limit_s: float) -> str:
        """The first test that fails; "" if none does in time."""
        (self._folder / "chosen").write_text("\n".join(tests))
        command = [sys.executable, "-m", "pytest", "-x", "-rfE", "--tb=no", "-p", "no:cacheprovider", "--timeout=120"]
        with subprocess.Popen(
            [*command, "@chosen"],
            cwd=self._folder,
            env=environment(self._folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=max(limit_s, 1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return "" if limit_s < 60 else "(the tests did not end)"
        if process.returncode == 0:
            return ""
        failed = _FAILED.search(output)
        return failed[1] if failed else f"(pytest ended with {process.returncode}: {output[-200:]!r})"


def environment(root: Path) -> dict[str, str]:
    paths = (root, root / "kernels", root / "tests")
    return {**os.environ, "PYTHONPATH": ":".join(map(str, paths)), "OMP_NUM_THREADS": "1"}


def stages(contexts: Sequence[str], durations: Mapping[str, float], widely: bool) -> list[tuple[str, Sequence[str]]]:
    """What is tried of those tests that run a line: the quickest ones that start no server, then the files that start
    some, and with `widely` everything."""

    def is_fast(test: str) -> bool:
        return test.startswith(FAST)

    own = [name for name in contexts if not name.startswith("server ")]
    quick = sorted((name for name in own if is_fast(name)), key=lambda name: durations.get(name, 0.0))
    seconds_of_file: dict[str, float] = {}
    for name, seconds in durations.items():
        file = name.split("::")[0]
        seconds_of_file[file] = seconds_of_file.get(file, 0.0) + seconds
    files = {name.split("::")[0] for name in own if not is_fast(name)}
    files |= {name.removeprefix("server ") for name in contexts if name.startswith("server ")}
    swarms = sorted(files, key=lambda file: seconds_of_file.get(file, 0.0))
    found = [("nearest", quick[:MOST_NEAREST]), ("nearest", quick[MOST_NEAREST:]), ("swarms", swarms)]
    return [*found, *([("all", [*FAST, "tests/swarm"])] if widely else [])]
