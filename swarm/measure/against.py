"""Figures beside those of an earlier measurement, of which `swarm benchmark --json` made a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.errors import UnusableFile
from swarm.measure.figures import Case
from swarm.measure.tables import number
from swarm.storage.files import parse_json, read_regular

_CONDITIONS = "model", "revision", "machine"  # which had better be the same


@dataclass(frozen=True)
class Figure:
    """Of one case, then."""

    tokens_per_s: float
    new_tokens: int
    is_doubted: bool


@dataclass(frozen=True)
class Earlier:
    """What was measured then. figures: by engine, sessions and context."""

    name: str
    about: Mapping[str, Any]
    figures: Mapping[tuple[str, int, int], Figure]

    def figure(self, case: Case) -> Figure | None:
        """Of the same case: of the engine of that name, or of the only one that there was."""
        sizes = case.sessions, case.context
        fitting = {engine: one for (engine, *its_sizes), one in self.figures.items() if (*its_sizes,) == sizes}
        only = next(iter(fitting.values())) if len(fitting) == 1 else None
        return fitting.get(case.engine, only)

    def times(self, case: Case) -> float | None:
        """How many times as fast it is now. None: it was not measured then, or not now."""
        then, now = self.figure(case), case.decode
        return now.median / then.tokens_per_s if then and now else None

    def cell(self, case: Case) -> str:
        """For a table. A star: either is in doubt, or was measured otherwise."""
        times, then = self.times(case), self.figure(case)
        if times is None or then is None:
            return "-"
        return number(times) + "*" * bool(case.doubts or then.is_doubted or self._is_other(case, then))

    def remarks(self, about: Mapping[str, Any], cases: Iterable[Case]) -> list[str]:
        """What has to be said beside it. about: the measurement of now."""
        said = [f"its {name} was another" for name in _CONDITIONS if about.get(name) != self.about.get(name)]
        found = [(case, self.figure(case)) for case in cases]
        if any(then and self._is_other(case, then) for case, then in found):
            said.append("its sessions had other numbers of new tokens")
        if any(then and then.is_doubted for _, then in found):
            said.append("some of its figures were in doubt")
        return [f"{self.name}: {'; '.join(said)}"] if said else []

    @staticmethod
    def _is_other(case: Case, then: Figure) -> bool:
        return then.new_tokens != len(case.runs[0].tokens_s[0])


def read_earlier(path: Path) -> Earlier:
    """Raises UnusableFile for what is no such file."""
    try:
        told = parse_json(read_regular(path))
        figures = {
            (str(row.get("engine", "")), int(row["sessions"]), int(row["context"])): Figure(
                float(row["tokens_per_s"]), int(row["new_tokens"]), bool(row["doubts"])
            )
            for row in told["rows"]
            if row["tokens_per_s"]
        }
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnusableFile(f"{path} is nothing that `swarm benchmark --json` printed") from error
    if not figures:
        raise UnusableFile(f"{path} has no figure to compare with")
    return Earlier(path.name, told, figures)
