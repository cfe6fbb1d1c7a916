"""A file that is written to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.storage.writer import Writer
from things import THINGS


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "folder" / "things.db"


@pytest.fixture
def writer(file) -> Iterator[Writer]:
    writer = Writer(file, THINGS)
    yield writer
    writer.close()
