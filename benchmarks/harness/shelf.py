"""Where results are kept: those of a second run beside those of the first, and an index of them all."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

INDEX = "index.md"
_HEADER = "| result | date | commit | load | command |\n| --- | --- | --- | --- | --- |\n"


class Shelf:
    """A folder of results. Each name is this run's own: what was there before stays."""

    def __init__(self, folder: Path, run: Mapping[str, object], replaces: bool = False):
        """run: date, commit and load, for the index. replaces: earlier results are written over, as where git keeps
        them."""
        self.folder, self._run, self._replaces = folder, run, replaces
        self._names: dict[str, str] = {}  # of this run's results, as they are told and as they are kept

    def path(self, name: str, suffix: str) -> Path:
        """For a result of this run: always the same for the same name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if name not in self._names:
            self._names[name] = name if self._replaces else self._free(name)
            if not self._replaces:
                self._note(self._names[name])
        return self.folder / f"{self._names[name]}{suffix}"

    def latest(self, name: str) -> Path | None:
        """The JSON that an earlier run left last; None if there was none."""
        found, mine = None, self._names.get(name)
        for one in _numbered(name):
            path = self.folder / f"{one}.json"
            if not path.exists() or (one == mine and not self._replaces):
                return found
            found = path
        return found

    def _free(self, name: str) -> str:
        return next(one for one in _numbered(name) if not any(self.folder.glob(f"{one}.*")))

    def _note(self, name: str) -> None:
        cells = (name, self._run["date"], self._run["commit"], self._run["load"], f"`{command_line()}`")
        with (self.folder / INDEX).open("a") as index:
            if not index.tell():
                index.write(_HEADER)
            index.write(f"| {' | '.join(str(cell).replace('|', '') for cell in cells)} |\n")


def _numbered(name: str) -> Iterator[str]:
    """name, name-2, name-3 ... In benchmarks/out, they are in the order in which they were made."""
    yield name
    for number in count(2):
        yield f"{name}-{number}"


def command_line() -> str:
    """With which this run is repeated, from the checkout's root."""
    script, root = Path(sys.argv[0]).resolve(), Path(__file__).resolve().parents[2]
    named = script.relative_to(root) if script.is_relative_to(root) else script.name
    return shlex.join(["python", str(named), *sys.argv[1:]])
