"""Homes of a test's own."""

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SWARM_PEERS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def no_home(home) -> Path:
    """There is a file in its place."""
    home.write_text("")
    return home


class Machines:
    """Two, on one of which this process is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self._folder, self._monkeypatch = folder, monkeypatch
        self.archive = folder / "key.tar.gz"
        self.use("first")

    def use(self, name: str) -> Path:
        self._monkeypatch.setenv("SWARM_HOME", str(self._folder / name))
        return self._folder / name


@pytest.fixture
def machines(tmp_path, monkeypatch) -> Machines:
    return Machines(tmp_path, monkeypatch)
