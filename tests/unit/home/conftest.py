"""A home of a test's own."""

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
